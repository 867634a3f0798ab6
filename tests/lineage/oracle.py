"""The same figures from raw records, by the plainest means: sets, and relaxation until nothing changes.

Imports nothing of the library. Understands one flow with subflows: attempts, nested ones, I/O, bodies, reused results.
"""

HOST = ("cpu_j", "dram_j", "gpu_j", "static_j")
MOVED = ("storage_j", "network_j", "remote_j")


def joules(span):
    return sum(getattr(span, name) or 0.0 for name in HOST + MOVED)


def owners(run):
    by_id = {span.id: span for span in run.spans}
    owner = {}
    for span in run.spans:
        chain = [span]
        while chain[-1].parent_id in by_id:
            chain.append(by_id[chain[-1].parent_id])
        attempts = [one for one in chain if one.kind == "attempt"]
        flows = [one for one in chain if one.kind == "flow"]
        if any(one.kind == "wait" for one in chain):
            owner[span.id] = "waiting"
        elif attempts:
            owner[span.id] = ("task", attempts[-1].task_run_id)
        elif span.kind == "flow":
            owner[span.id] = "orchestration"
        else:
            owner[span.id] = ("body", flows[0].flow_run_id)
    return owner


def standing(run):
    """What a version that is known by its name alone stands on: the run's earlier writes there, back to a seen one."""
    leads = set()
    for v in [v for v in run.versions if v.written is None]:
        for u in sorted(run.versions, key=lambda u: (u.created_at, u.id), reverse=True):
            if u.uri == v.uri and (u.created_at, u.id) < (v.created_at, v.id):
                leads.add((("made", u.id) if u.written is None else u.id, v.id))
                if u.written is not None:
                    break
    return leads


def keepers(run):
    """The versions that kept files of earlier ones, or are taken to."""
    made = {(v.span_id, v.uri): v.id for v in run.versions}
    return {made[r.span_id, r.uri] for r in run.reads if (r.span_id, r.uri) in made} | {v for _, v in standing(run)}


def known(run, keeping=None):
    """The steps with their joules, the orchestration, and what leads to what within the run.

    A version that kept files has a second node for those that its own write made.
    """
    keeping = keepers(run) if keeping is None else keeping
    owner = owners(run)
    spans = {span.id: span for span in run.spans}
    steps = {who for who in owner.values() if isinstance(who, tuple)}
    e = {step: sum(joules(s) for s in run.spans if owner[s.id] == step) for step in steps}
    o = sum(joules(s) for s in run.spans if owner[s.id] == "orchestration")
    end = {step: max(s.ended_at for s in run.spans if owner[s.id] == step) for step in steps}
    task_of = {s.task_run_id: owner[s.id] for s in run.spans if s.kind == "attempt"}

    leads = standing(run)
    for v in run.versions:
        leads |= {(owner[v.span_id], ("made", v.id)), (("made", v.id), v.id)}
        if owner[v.span_id][0] == "body":
            leads |= {(step, owner[v.span_id]) for step in steps if end[step] <= spans[v.span_id].started_at}
    made = {(v.span_id, v.uri): v.id for v in run.versions}
    for r in [r for r in run.reads if r.version_id]:
        part = r.files is not None and r.version_id in keeping
        leads.add((("made", r.version_id) if part else r.version_id, made.get((r.span_id, r.uri), owner[r.span_id])))
    leads |= {(task_of[x.upstream], task_of[x.downstream]) for x in run.edges}
    for cached in [s for s in run.spans if s.status == "cached" and s.result_key]:
        makers = makers_of(cached, run.spans)
        if makers:
            leads.add((owner[max(makers, key=lambda s: (s.ended_at, s.id)).id], owner[cached.id]))
    return owner, e, o, leads


def makers_of(cached, spans):
    return [
        s for s in spans
        if s.kind == "attempt" and s.status == "completed" and s.result_key == cached.result_key
        and s.ended_at <= cached.started_at
    ]  # fmt: skip


def reached(nodes, leads):
    """What can be reached from each node, itself included."""
    reach = {node: {node} for node in nodes}
    changed = True
    while changed:
        changed = False
        for a, b in leads:
            if not reach[b] <= reach[a]:
                reach[a] = reach[a] | reach[b]
                changed = True
    return reach


def gathered(runs):
    """All nodes of several runs, the steps' joules and the orchestration of each, and what leads to what."""
    everything, steps_of, o_of, every_lead = set(), {}, {}, set()
    keeping = set().union(*map(keepers, runs))
    for run in runs:
        owner, e, o, leads = known(run, keeping)
        everything |= {*e, *(v.id for v in run.versions), *(("made", v.id) for v in run.versions)}
        steps_of[run.run_id], o_of[run.run_id] = e, o
        every_lead |= leads
        for cached in [s for s in run.spans if s.status == "cached" and s.result_key]:
            if not makers_of(cached, run.spans):
                elsewhere = [(s, other) for other in runs if other is not run for s in makers_of(cached, other.spans)]
                if elsewhere:
                    maker, other = max(elsewhere, key=lambda found: (found[0].ended_at, found[0].id))
                    every_lead.add((owners(other)[maker.id], owner[cached.id]))
    return everything, steps_of, o_of, every_lead


def loaded(runs):
    """Fully loaded joules of every version, over several root runs at once."""
    everything, steps_of, o_of, every_lead = gathered(runs)
    reach = reached(everything, every_lead)
    result = {}
    for v in [v for run in runs for v in run.versions]:
        result[v.id] = 0.0
        for run_id, e in steps_of.items():
            s = sum(joules for step, joules in e.items() if v.id in reach[step])
            sum_e = sum(e.values())
            result[v.id] += s + (o_of[run_id] * s / sum_e if sum_e else 0.0)
    return result


def amortised(runs, uses):
    """The same, but what passes through a version is divided by its URI's uses, by whichever path divides least."""
    everything, steps_of, o_of, every_lead = gathered(runs)
    uri = {v.id: v.uri for run in runs for v in run.versions}
    uri |= {("made", v): name for v, name in uri.items()}
    result = {}
    for version in [v for v in uri if isinstance(v, str)]:
        weight = dict.fromkeys(everything, 0.0) | {version: 1.0}
        changed = True
        while changed:
            changed = False
            for a, b in every_lead:
                through = weight[b] / (uses.get(uri[a], 1) if a in uri and b not in uri else 1)
                if through > weight[a]:
                    weight[a], changed = through, True
        result[version] = 0.0
        for run_id, e in steps_of.items():
            s, sum_e = sum(weight[step] * joules for step, joules in e.items()), sum(e.values())
            result[version] += s + (o_of[run_id] * s / sum_e if sum_e else 0.0)
    return result


def feeds(reach, keeping, v, u):
    """Whether u came from v, or from files that v's own write made; not if the two lead to each other."""
    start = ("made", v.id) if v.id in keeping else v.id
    return u.id in reach[start] and v.id not in reach[u.id]


def figures(run):
    """Per version in-run and attributed joules; E(R), o(R), unclaimed; final products."""
    _, e, o, leads = known(run)
    steps = set(e)
    versions = {v.id for v in run.versions}
    nodes = steps | versions | {("made", v) for v in versions}
    reach = reached(nodes, {(a, b) for a, b in leads if a in nodes})

    sum_e = sum(e.values())
    closure = {v: {s for s in steps if v in reach[s]} for v in versions}
    in_run = {}
    for v in versions:
        s = sum(e[step] for step in closure[v])
        in_run[v] = s + (o * s / sum_e if sum_e else 0.0)

    last = {}
    for v in sorted(run.versions, key=lambda v: (v.created_at, v.id)):
        last[v.uri] = v
    keeping = keepers(run)
    finals = [v for v in last.values() if not any(feeds(reach, keeping, v, u) for u in last.values() if u is not v)]
    attributed = {v.id: 0.0 for v in finals}
    unclaimed = 0.0 if sum_e else o
    for step in steps:
        loaded = e[step] * (1 + o / sum_e) if sum_e else 0.0
        users = [v for v in finals if step in closure[v.id]]
        if not users:
            unclaimed += loaded
            continue
        weights = [v.bytes for v in users]
        if None in weights or sum(weights) == 0:
            weights = [1] * len(users)
        for v, weight in zip(users, weights, strict=True):
            attributed[v.id] += loaded * weight / sum(weights)
    return {
        "in_run": in_run, "attributed": attributed, "unclaimed": unclaimed, "orchestration": o, "energy": sum_e + o,
        "finals": {v.id for v in finals},
    }  # fmt: skip
