"""The command line `bpk`: thin, one file per group of commands."""


def main() -> None:
    """The entry point. Imports wait until here, so that nothing else pays for them."""
    from gateway.cli.command import run

    run()
