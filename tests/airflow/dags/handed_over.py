"""A DAG in which results are handed over in every way: as arguments, to and from mapped tasks, and pulled."""

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Asset, task, task_group
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance


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


@task_group
def group(number):
    doubled.override(task_id="inside")(number)


@task
def pulls_of_a_group(ti=None):
    return sum(ti.xcom_pull(task_ids="group.inside"))


@task
def pulls_one_of_many(ti=None):
    return ti.xcom_pull(task_ids="doubled", map_indexes=1)


@task
def asks_for_it(ti=None):
    from airflow.sdk.execution_time.xcom import XCom

    return XCom.get_one(key="return_value", dag_id=ti.dag_id, run_id=ti.run_id, task_id="one")


@task(outlets=[Asset("made of another run's result")])
def pulls_from_another_dag(ti=None, dag_run=None):
    return ti.xcom_pull(task_ids="one", dag_id="elsewhere", run_id=dag_run.conf["elsewhere"])


@task.branch(outlets=[Asset("of a branch")])
def decides(ti=None):
    return "taken" if ti.xcom_pull(task_ids="one") else "left"


@task
def sums(number, all_of_them):
    return number + sum(all_of_them)


@task
def counts(number):
    return number


@task
async def pulls_asynchronously(ti=None):
    return await ti.axcom_pull(task_ids="one")


with DAG("elsewhere", schedule=None):
    one()

with DAG("handed_over", schedule=None):
    first = one()
    twice = doubled.expand(number=numbers())
    added(squared.expand(number=twice), first)
    rendered = BashOperator(task_id="rendered", bash_command="echo {{ ti.xcom_pull(task_ids='one') }}")
    of_all = "echo {{ ti.xcom_pull(task_ids='doubled') | list }}"
    twice >> BashOperator(task_id="rendered_of_all", bash_command=of_all)
    group.expand(number=[3, 4]) >> pulls_of_a_group()
    twice >> pulls_one_of_many()
    first >> [pulls(), rendered, asks_for_it()]
    pulls_from_another_dag()
    first >> decides() >> [EmptyOperator(task_id="taken"), EmptyOperator(task_id="left")]
    sums.partial(all_of_them=twice).expand(number=[5, 6])
    counts.expand(number=numbers.override(task_id="more_numbers")().concat(twice))
    if hasattr(RuntimeTaskInstance, "axcom_pull"):
        first >> pulls_asynchronously()
