"""deploy/grafana and deploy/alerts: what they ask Prometheus for exists, is spelt right, and alerts when it should.

The rules are tried by promtool where it is installed; the rest needs nothing.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml
from prometheus_client import Counter, Gauge, Histogram

from adapters.ir import Cause
from policies.rollout import Change
from proxy.arms import BOUNDS, Outcome
from proxy.metrics import Metrics
from proxy.rollout import Stage

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "alerts" / "muxel.rules.yaml"
TRIALS = Path(__file__).with_name("alerts.test.yaml")
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "muxel.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
ALERTS = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]

OF_THE_TARGET = {"job", "namespace", "instance", "pod"}  # labels that Prometheus adds
VARIABLES = {"$__rate_interval": "5m", "$__range": "6h", "$job": ".*"}
OUTCOMES = {"ok", "dry_run", "passed", *(cause.label for cause in Cause)}
VALUES = {
    ("muxel_requests_total", "outcome"): OUTCOMES,
    ("muxel_attempts_total", "outcome"): OUTCOMES,
    ("muxel_rollout_requests_total", "outcome"): set(Outcome._value2member_map_),
    ("muxel_rollout_requests_total", "arm"): {"live", "candidate"},
    ("muxel_rollout_compared_usd_total", "choice"): {"live", "candidate"},
    ("muxel_rollout_comparisons_total", "change"): {"error", *Change},
    ("muxel_rollout_holds_total", "bound"): set(BOUNDS),
}


def exposed() -> dict[str, set[str]]:
    """The labels of every series that Muxel exposes, by its name."""
    series: dict[str, set[str]] = {}
    for metric in vars(Metrics()).values():
        if not isinstance(metric, Counter | Gauge | Histogram):
            continue
        (family,) = metric.describe()
        labels = set(metric._labelnames)
        match metric:
            case Counter():
                series[f"{family.name}_total"] = labels
            case Gauge():
                series[family.name] = labels
            case Histogram():
                series |= {f"{family.name}_{part}": labels for part in ("count", "sum")}
                series[f"{family.name}_bucket"] = labels | {"le"}
    return series


EXPOSED = exposed()


def queries() -> Iterator[tuple[str, str]]:
    """Every PromQL expression that is shipped, by where it stands."""
    for panel in PANELS:
        for target in panel["targets"]:
            yield f"{panel['title']} {target['refId']}", target["expr"]
    for annotation in DASHBOARD["annotations"]["list"]:
        if "expr" in annotation:
            yield annotation["name"], annotation["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        if found := re.fullmatch(r"label_values\((\w+), \w+\)", variable.get("definition", "")):
            yield variable["name"], found[1]
    for rule in ALERTS:
        yield rule["alert"], rule["expr"]


QUERIES = dict(queries())


def parsed(text: str) -> list[Any]:
    """All nodes of an expression. Raises ValueError for one that is none."""
    for variable, value in VARIABLES.items():
        text = text.replace(variable, value)
    nodes: list[Any] = []
    promql.walk(promql.parse(text), nodes.append)
    return nodes


def selectors(text: str) -> list[promql.VectorSelector]:
    nodes = (node.vector_selector if isinstance(node, promql.MatrixSelector) else node for node in parsed(text))
    return [node for node in nodes if isinstance(node, promql.VectorSelector)]


@pytest.mark.parametrize("where", QUERIES)
def test_every_query_asks_for_series_and_labels_that_there_are(where: str) -> None:
    asked = selectors(QUERIES[where])
    assert asked
    for selector in asked:
        assert selector.name in EXPOSED
        for matcher in selector.matchers.matchers:
            assert matcher.name in EXPOSED[selector.name] | OF_THE_TARGET
            if known := VALUES.get((selector.name, matcher.name)):
                assert set(matcher.value.split("|")) <= known
    labels = set.union(*(EXPOSED[selector.name] for selector in asked)) | OF_THE_TARGET
    for node in parsed(QUERIES[where]):
        if isinstance(node, promql.AggregateExpr) and node.modifier:
            assert set(node.modifier.labels) <= labels


def test_the_check_itself_notices_what_is_misspelt() -> None:
    assert {one.name for one in selectors("rate(muxel_request_total[5m]) / on (job) foo")} == {
        "muxel_request_total",
        "foo",
    }
    assert "muxel_request_total" not in EXPOSED
    assert EXPOSED["muxel_decide_seconds_bucket"] == {"le"}
    with pytest.raises(ValueError, match="parenthesis"):
        parsed("sum(rate(muxel_requests_total[5m])")


def test_every_metric_of_muxel_is_on_the_dashboard() -> None:
    shown = {selector.name for panel in PANELS for target in panel["targets"] for selector in selectors(target["expr"])}
    for metric in vars(Metrics()).values():
        if isinstance(metric, Counter | Gauge | Histogram):
            (family,) = metric.describe()
            assert {family.name, f"{family.name}_total", f"{family.name}_bucket"} & shown, family.name


# ----------------------------------------------------------------------------------------------------------- dashboard


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_takes_its_data_from_the_source_that_is_chosen(panel: dict[str, Any]) -> None:
    for source in (panel["datasource"], *(target["datasource"] for target in panel["targets"])):
        assert source == {"type": "prometheus", "uid": "${datasource}"}
    references = [target["refId"] for target in panel["targets"]]
    assert len(set(references)) == len(references)
    for target in panel["targets"]:
        assert all("$job" in matcher for matcher in re.findall(r"\{([^{}]*)\}", target["expr"])), (
            "not of the job chosen"
        )
        labels = set.union(*(EXPOSED[selector.name] for selector in selectors(target["expr"]))) | OF_THE_TARGET
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= labels


def test_panels_have_ids_of_their_own_and_lie_side_by_side() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + across, place["y"] + down) for across in range(place["w"]) for down in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_the_states_of_a_rollout_are_shown_by_their_names() -> None:
    (panel,) = [panel for panel in PANELS if panel["title"] == "State"]
    (mapping,) = panel["fieldConfig"]["defaults"]["mappings"]
    assert {number: shown["text"] for number, shown in mapping["options"].items()} == {
        str(stage.value): stage.name.lower() for stage in Stage
    }


# -------------------------------------------------------------------------------------------------------------- alerts


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_what_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["annotations"].keys() == {"summary", "description"}


def test_every_alert_is_seen_to_fire() -> None:
    trials = yaml.safe_load(TRIALS.read_text())["tests"]
    fired = {trial["alertname"] for test in trials for trial in test["alert_rule_test"] if trial["exp_alerts"]}
    assert fired == {rule["alert"] for rule in ALERTS}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed; it is in Debian's prometheus")
@pytest.mark.parametrize("arguments", [("check", "rules", str(RULES)), ("test", "rules", str(TRIALS))])
def test_promtool_finds_the_rules_right(arguments: tuple[str, ...]) -> None:
    ended = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stdout + ended.stderr
