"""One target under atheris, in a process of its own: libFuzzer ends the process that it runs in.

    python -m fuzzing.probe TARGETS-MODULE NAME INSTRUMENTED-MODULES [libFuzzer options and folders]

The modules named, with commas between, are loaded with coverage counted; everything else is loaded as it is.
"""

import importlib
import sys

import atheris


def main() -> None:
    """Fuzz until libFuzzer ends the process."""
    module, name, instrumented, *options = sys.argv[1:]
    with atheris.instrument_imports(include=instrumented.split(",")):
        target = importlib.import_module(module).TARGETS[name]
    atheris.Setup([sys.argv[0], *options], target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
