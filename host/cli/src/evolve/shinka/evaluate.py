"""ShinkaEvolve runs this once per policy."""

from windtunnel.evolve import shinka_main

SUITE = @SUITE@

if __name__ == "__main__":
    shinka_main(SUITE)
