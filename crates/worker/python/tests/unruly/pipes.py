"""Prefect: a flow of two tasks."""

import conduct
from prefect import flow, task


@task(persist_result=True)
def first(place, case):
    conduct.first(place, case)


@task
def second(place, case):
    return conduct.second(place, case)


@task
async def asleep(place, case):
    await conduct.asleep(place, case)


@flow
def unruly(place: str, case: str):
    first(place, case)
    return second(place, case)


@flow
async def stuck(place: str, case: str):
    first(place, case)
    return second(place, case)  # plain tasks, which hold the event loop of this flow


@flow
async def sleepy(place: str, case: str):
    first(place, case)
    await asleep(place, case)
