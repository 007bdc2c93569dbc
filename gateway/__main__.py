"""`python -m gateway` is `bpk`."""

from gateway.cli import main

if __name__ == "__main__":
    main()
