"""When a workflow with a `schedule` would start next. The task itself runs once, now; nothing is scheduled here."""

from __future__ import annotations

from prefect.server.schemas.schedules import CronSchedule

from ...api import StageError, Task

#: Times that the output names.
COUNT = 5


async def next_fire_times(task: Task) -> list[str]:
    """The next times in the task's zone, by Prefect's own reckoning of summer time."""
    try:
        schedule = CronSchedule(cron=task.task["schedule"], timezone=task.task.get("timezone") or "UTC")
        return [moment.isoformat() for moment in await schedule.get_dates(COUNT)]
    except ValueError as error:
        raise StageError("TASK_INVALID", str(error)[:500], field="schedule") from error
