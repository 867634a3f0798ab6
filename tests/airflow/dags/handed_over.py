"""A DAG in which results are handed over in every way: as arguments, to and from mapped tasks, and pulled."""

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, task


@task
def one():
    return 1


@task
def numbers():
    return [1, 2]


@task
def doubled(number):
    return 2 * number


@task
def squared(number):
    return number * number


@task
def added(values, first):
    return sum(values) + first


@task
def pulls(ti=None):
    return ti.xcom_pull(task_ids="one")


with DAG("handed_over", schedule=None):
    first = one()
    twice = doubled.expand(number=numbers())
    added(squared.expand(number=twice), first)
    rendered = BashOperator(task_id="rendered", bash_command="echo {{ ti.xcom_pull(task_ids='one') }}")
    first >> [pulls(), rendered]
