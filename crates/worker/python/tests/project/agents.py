"""A user's own agents."""

from agno.agent import Agent
from agno.team import Team


def shout(text: str) -> str:
    """Makes a text loud."""
    return text.upper()


tester = Agent(name="own-tester", instructions="Answer in one short sentence.")
pair = Team(name="pair", members=[Agent(name="one", role="counts"), Agent(name="two", role="reads")])
not_an_agent = 3


def _explode():
    raise LookupError("the instructions of the user failed")


failing = Agent(name="failing", instructions=_explode)
