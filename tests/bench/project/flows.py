"""The smallest real Prefect flow."""

from prefect import flow


@flow(log_prints=False)
def add(n: int) -> dict:
    """Without tasks."""
    return {"n": n + 1}
