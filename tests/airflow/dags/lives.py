"""A DAG with a solution and a param `e2s` of somebody else's, whose runs begin more than once."""

from airflow.sdk import DAG, task

with DAG("lives", schedule=None, tags=["e2s:solution=lives"], params={"e2s": "prod"}):

    @task
    def counts():
        from time import thread_time

        from e2s_tasks import record_outcome

        end = thread_time() + 0.2
        while thread_time() < end:
            sum(range(1000))
        record_outcome(units=10, accurate=9, name="row")

    counts()
