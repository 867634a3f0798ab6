"""A DAG whose mapped tasks get what Airflow picks for them in every way; others that pull what is not there."""

from airflow.sdk import DAG, Asset, task, task_group
from airflow_errors import AirflowSkipException


@task
def rows(number):
    return number


@task
def columns(number):
    return number


@task
def cells(row, column):
    return row + column


@task
def some(number):
    return None if number == 1 else number


@task
def unless_skipped(number):
    if number == 1:
        raise AirflowSkipException
    return number


@task(trigger_rule="none_failed")
def after(number):
    return number


@task
def cheap():
    return 1


@task
def dear():
    return 2


@task
def literal(number):
    return number


@task
def keywords(left, right):
    return left + right


@task
def pairs():
    return [{"left": 1, "right": 2}, {"left": 3, "right": 4}]


@task
def inner(number, of_all):
    return number


@task
def collects(numbers):
    return len(list(numbers))


@task
def does_not_look(numbers):
    return len(numbers)


@task
def takes_the_first(ti=None):
    return ti.xcom_pull(task_ids="rows", map_indexes=[0, 7])


with DAG("mapped", schedule=None):
    of_rows, of_columns = rows.expand(number=[10, 20]), columns.expand(number=[1, 2, 3])
    cells.expand(row=of_rows, column=of_columns)
    after.expand(number=some.expand(number=[1, 2, 3]))
    after.override(task_id="after_a_skip").expand(number=unless_skipped.expand(number=[1, 2, 3]))
    literal.expand(number=[cheap(), dear()])
    keywords.expand_kwargs(pairs())
    joined = of_rows.map(lambda number: number + 1).concat(of_columns)
    literal.override(task_id="of_joined").expand(number=joined)
    zipped = of_rows.zip(of_columns)
    literal.override(task_id="of_zipped").expand(number=zipped)

    @task_group
    def group(number, of_all):
        return inner.override(task_id="second")(inner.override(task_id="first")(number, of_all), 0)

    collects(group.partial(of_all=of_columns).expand(number=of_rows))
    does_not_look(of_columns)
    of_rows >> takes_the_first()


@task(outlets=[Asset("made of what was not there")])
def pulls_in_vain(ti=None):
    found = ti.xcom_pull(task_ids="there", dag_id="mapped", run_id="long ago")
    before = ti.xcom_pull(task_ids="pulls_in_vain", key="watermark", include_prior_dates=True)
    return [found, before, *ti.xcom_pull(task_ids=["there", "nowhere"])]


@task
def there():
    return 1


with DAG("in_vain", schedule=None):
    there() >> pulls_in_vain()


@task(outlets=[Asset("made of what was remembered")])
def remembers(ti=None):
    before = ti.xcom_pull(task_ids="remembers", key="watermark", include_prior_dates=True)
    ti.xcom_push("watermark", 5)
    return [before, ti.xcom_pull(task_ids="comes_later", include_prior_dates=True)]


@task
def comes_later():
    return 1


with DAG("with_a_watermark", schedule=None):
    remembers() >> comes_later()


def pulls_back(context):
    context["ti"].xcom_pull(task_ids="there")


with DAG("called_back", schedule=None):
    called = there.override(task_id="calls_back", on_success_callback=pulls_back)()
    there() >> called >> cheap()
