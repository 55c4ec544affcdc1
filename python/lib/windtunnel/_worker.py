"""A worker process, in which candidates run. It is run by path, in an interpreter without packages, so that it starts fast."""

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
    # In the sandbox a regular exit of the interpreter would look for files that it may not read.
    os._exit(code)
