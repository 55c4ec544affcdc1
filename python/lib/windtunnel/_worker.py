"""A process in which candidates work. Run by path, in an interpreter that looks for no packages: it starts fast and finds nothing else."""

import importlib.machinery
import importlib.util
import os
import signal
import sys
from types import ModuleType


def _native() -> ModuleType:
    folder = os.path.dirname(os.path.abspath(__file__))
    for ending in importlib.machinery.EXTENSION_SUFFIXES:
        path = os.path.join(folder, "_native" + ending)
        if os.path.exists(path):
            loader = importlib.machinery.ExtensionFileLoader("_native", path)
            spec = importlib.machinery.ModuleSpec("_native", loader, origin=path)
            module = importlib.util.module_from_spec(spec)
            loader.exec_module(module)
            return module
    raise ImportError("no compiled module beside " + __file__)


if __name__ == "__main__":
    # Ctrl-C is for the parent; this process ends with its input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    code = _native().main(["windtunnel", "worker", *sys.argv[1:]])
    # The walls are up: an orderly end would look for files it may not read.
    os._exit(code)
