"""Agents in Agno's own way; `agno.yaml` runs them by reference."""

from agno.agent import Agent
from agno.team import Team
from agno.tools import tool


@tool(requires_confirmation=True)
def release(version: str) -> str:
    """Releases a version. A person has to approve it."""
    return f"{version} is released"


clerk = Agent(id="clerk", name="clerk", role="answers briefly", instructions="Answer in one sentence.")
releaser = Agent(id="releaser", name="releaser", role="releases versions", tools=[release])
desk = Team(name="desk", members=[clerk, releaser], instructions="Let the clerk answer questions.")
