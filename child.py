from e2s_tasks import e2s_flow, e2s_task, record_outcome
from tests.mixes.burning import burn


@e2s_task
def score(given):
    burn(0.2)
    record_outcome(units=len(given), name="score")
    return given


@e2s_flow(name="called-child", log_prints=False)
def child(given: list = []):
    return score(given)
