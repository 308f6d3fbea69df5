"""What an idle process reads: a flow without tasks. It is not run, as people would see that."""

from prefect import flow


@flow
def smallest(n: int) -> int:
    """Gives what it was given."""
    return n
