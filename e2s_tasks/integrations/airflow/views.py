"""The Energy tabs in Airflow's pages: who may see them, and where they are.

They are frames on an application that Airflow's API server serves. Airflow asks nobody's leave for a plugin's pages:
each of these depends on the same checks as Airflow's own pages of DAG runs and task instances, with the DAG that the
path names. A browser shows who it is by the cookie that Airflow's login has set.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastapi import FastAPI

PREFIX = "/e2s"
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; "
    "form-action 'none'; base-uri 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
Message = MutableMapping[str, Any]


class EnergyPages:
    """The application, made at its first request: the processes of tasks load plugins too, and need none of it."""

    def __init__(self) -> None:
        self._app: FastAPI | None = None

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Answer one request."""
        if self._app is None:
            self._app = application()
        await self._app(scope, receive, send)


def application() -> "FastAPI":
    """The pages, each for who may read the runs and the task instances of the DAG that its path names."""
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
    from airflow.api_fastapi.core_api.security import requires_access_dag
    from fastapi import Depends, FastAPI
    from fastapi.responses import HTMLResponse

    from e2s_tasks.integrations.airflow import pages

    entities = (DagAccessEntity.RUN, DagAccessEntity.TASK_INSTANCE)
    may_read = [Depends(requires_access_dag(method="GET", access_entity=one)) for one in entities]
    app = FastAPI(title="e2s-tasks", dependencies=may_read, openapi_url=None, docs_url=None, redoc_url=None)

    def html(found: pages.Page) -> HTMLResponse:
        return HTMLResponse(found.html, found.status, HEADERS)

    # Plain functions, which run on a thread: reading the ledger holds nobody up. What may hold a slash is no path.
    @app.get("/dags/{dag_id}")
    def dag(dag_id: str) -> HTMLResponse:
        return html(pages.dag(dag_id))

    @app.get("/dags/{dag_id}/run")
    def dag_run(dag_id: str, run_id: str) -> HTMLResponse:
        return html(pages.dag_run(dag_id, run_id))

    @app.get("/dags/{dag_id}/task-instance")
    def task_instance(dag_id: str, run_id: str, task_id: str, map_index: str = "") -> HTMLResponse:
        return html(pages.task_instance(dag_id, run_id, task_id, map_index))

    return app


def fastapi_apps() -> list[dict[str, Any]]:
    """What Airflow mounts."""
    return [{"name": "e2s", "app": EnergyPages(), "url_prefix": PREFIX}]


def external_views() -> list[dict[str, Any]]:
    """The tabs. Their addresses are relative to where Airflow is, which may be below a path of its host."""
    dag = f"{PREFIX.lstrip('/')}/dags/{{DAG_ID}}"
    of_task = "run_id={RUN_ID}&task_id={TASK_ID}&map_index={MAP_INDEX}"
    tabs = (
        ("dag", "energy-runs", dag),
        ("dag_run", "energy-run", f"{dag}/run?run_id={{RUN_ID}}"),
        ("task_instance", "energy", f"{dag}/task-instance?{of_task}"),
    )
    return [{"name": "Energy", "destination": where, "url_route": route, "href": href} for where, route, href in tabs]
