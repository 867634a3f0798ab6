"""An auth manager that forbids a DAG to one user, and what lies inside DAGs to another."""

from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

SECRET = "secret_pages"


class StrictAuthManager(SimpleAuthManager):
    """vic may not see one DAG; tim may see DAGs, but neither their runs nor their task instances."""

    def is_authorized_dag(self, *, method, user, access_entity=None, details=None):
        if user.username == "vic" and details is not None and details.id == SECRET:
            return False
        if user.username == "tim" and access_entity is not None:
            return False
        return super().is_authorized_dag(method=method, user=user, access_entity=access_entity, details=details)
