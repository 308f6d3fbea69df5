"""What an idle process rehearses: a flow without tasks."""

from prefect import flow


@flow
def smallest(n: int) -> int:
    """Gives what it was given."""
    return n
