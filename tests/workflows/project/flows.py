"""A flow in Prefect's own way, and a task of a graph; `prefect.yaml` runs them by reference."""

from prefect import flow, task


@task(persist_result=True)
def squares(upto: int) -> list[int]:
    """Kept by Prefect: a killed attempt does not compute it again."""
    return [n * n for n in range(1, upto + 1)]


@task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@flow
def sum_of_squares(upto: int = 3) -> dict[str, int]:
    return {"total": total(squares(upto))}


def busiest(inputs: dict, most: int = 1) -> list[dict]:
    """A task of a `dag`: gets what it needs by name, and its parameters."""
    return sorted(inputs["sign_ins"], key=lambda row: (-row["n"], row["account"]))[:most]
