"""`python -m trainer ...` inside the test's own process."""

from typer.testing import CliRunner, Result

from trainer.cli import app


def trainer(*arguments: object) -> Result:
    """What the command line prints, and its exit status; a UserError is in `result.exception`."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])
