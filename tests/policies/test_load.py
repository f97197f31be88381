"""What load accepts, what it refuses and how it says so.

Every mistake is a case in errors/: the YAML a user wrote, and beside it the lines ``muxel check`` prints for it.
"""

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.ir import MediaRequest, Operation
from adapters.registry import WIRES as REGISTERED
from policies.classify import classify
from policies.load import Config, ConfigError, Problem, WireFacts, load_documents

HERE = Path(__file__).parent
CASES = sorted((HERE / "errors").glob("*.yaml"))
BASE = (HERE / "base.yaml").read_text()
WIRES = {
    "bfl": WireFacts(frozenset({Operation.GENERATE, Operation.EDIT}), frozenset({"safety_tolerance", "max_edge"})),
    "openai_images": WireFacts(frozenset({Operation.GENERATE}), frozenset({"quality"})),
    "stability": WireFacts(frozenset({Operation.UPSCALE, Operation.VECTORIZE}), frozenset()),
}
TASKS = frozenset({"portrait", "landscape", "logo_vector"})


def read(files: Mapping[str, str | bytes], *, base: bool = True, shipped: bool = False) -> Config:
    own = {**({"base.yaml": BASE} if base else {}), **files}
    return load_documents(own, WIRES, shipped=shipped, tasks=TASKS, tests=True)


def problems(files: Mapping[str, str | bytes], *, base: bool = True) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(files, base=base)
    return [str(problem) for problem in caught.value.problems]


# ------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_every_mistake_is_told_at_once_and_where_it_is(case: Path, request: pytest.FixtureRequest) -> None:
    told = "\n".join(problems({case.name: case.read_bytes()})) + "\n"
    expected = case.with_suffix(".txt")
    if request.config.getoption("--regold"):
        expected.write_text(told)
    assert told == expected.read_text()


def test_a_key_pasted_into_the_wrong_field_is_never_repeated() -> None:
    told = (HERE / "errors" / "unions.txt").read_text()
    assert "unions.yaml:39:60: spec.credential must be" in told
    assert "sk-" not in told


def test_a_file_over_the_size_limit_is_refused_before_it_is_parsed() -> None:
    told = problems({"big.yaml": b"[" * (4 * 1024 * 1024 + 1)})
    assert told == ["big.yaml:1:1: the file is larger than 4 MiB"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"a: \xff", "x.yaml:1:4: the file is not UTF-8 text"),
        (b"a: 1\n\xc3\xa4: \xfe", "x.yaml:2:4: the file is not UTF-8 text"),
        ("a: \ud800", "x.yaml:1:4: the file is not UTF-8 text"),
        ("[" * 5_000, "x.yaml:1:101: nested more than 100 levels deep"),
        ("- " * 5_000, "x.yaml:1:201: nested more than 100 levels deep"),
    ],
)
def test_what_is_not_readable_text_is_refused_where_it_begins(content: str | bytes, told: str) -> None:
    assert problems({"x.yaml": content}) == [told]


def test_an_alias_bomb_is_refused_in_the_line_that_goes_too_far() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40)]
    assert problems({"bomb.yaml": "\n".join(lines)}) == [
        "bomb.yaml:6:40: the aliases up to here stand for more than 1000000 values"
    ]


def test_aliases_of_one_long_text_are_bounded_too() -> None:
    told = problems({"bomb.yaml": f"a: &a {'x' * 100_000}\nb: [{', '.join(['*a'] * 50)}]"})
    assert [line.partition(": ")[2] for line in told] == ["the aliases up to here stand for more than 1000000 values"]


def test_a_document_full_of_mistakes_does_not_print_them_all() -> None:
    keys = "\n".join(f"  wrong{n}: 1" for n in range(5_000))
    text = f"apiVersion: muxel.dev/v1alpha1\nkind: RoutingPolicy\nmetadata: {{name: many}}\nspec:\n{keys}\n"
    told = problems({"many.yaml": text})
    assert len(told) == 101
    assert "many.yaml:1:1: there are 4900 further problems in this document" in told


def test_a_configuration_without_a_default_policy_is_refused() -> None:
    provider = BASE.split("---")[0]
    assert problems({"p.yaml": provider}, base=False) == ['p.yaml:1:1: there is no RoutingPolicy named "default"']


@settings(deadline=None)
@given(st.text())
def test_arbitrary_text_is_refused_or_read_and_nothing_else(text: str) -> None:
    outcome(text)


DOCUMENT = BASE.split("---")[1]


@settings(deadline=None)
@given(
    st.integers(0, len(DOCUMENT)), st.integers(0, 20), st.text(max_size=6) | st.sampled_from(["[", "&a ", "*a", "!"])
)
def test_a_damaged_document_is_refused_or_read_and_nothing_else(start: int, length: int, put: str) -> None:
    outcome(DOCUMENT[:start] + put + DOCUMENT[start + length :])


@settings(deadline=None)
@given(st.text())
def test_an_entry_of_a_manifest_may_hold_anything(text: str) -> None:
    indented = "\n".join("    " + line for line in text.splitlines())
    outcome(f"apiVersion: v1\nkind: ConfigMap\ndata:\n  a.yaml: |\n    # muxel.dev/\n{indented}\n")


def outcome(text: str) -> None:
    """Positions must lie in the file, whatever is wrong with it."""
    try:
        read({"x.yaml": text}, base=False)
        return
    except ConfigError as error:
        found = error.problems
    assert found
    assert all(1 <= problem.line <= len(text.splitlines()) + 2 for problem in found)
    assert all(problem.column >= 1 for problem in found)


# ------------------------------------------------------------------------------------------------------------ overlay


POLICY = """apiVersion: muxel.dev/v1alpha1
kind: RoutingPolicy
metadata: {{name: {name}}}
spec: {{objective: {objective}}}
"""
MODEL = """
apiVersion: muxel.dev/v1alpha1
kind: ModelCatalog
metadata: {{name: {name}}}
spec:
  models:
    - id: {id}
      vendor: Ours
      operations: [image.generate]
      deployments: [{{provider: bfl, remote: {remote}}}]
"""


@pytest.fixture
def with_base_as_shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("policies.load._shipped_files", lambda: {"shipped/base.yaml": BASE.encode()})


@pytest.mark.usefixtures("with_base_as_shipped")
def test_a_users_document_replaces_the_shipped_one_of_its_kind_and_name_whole() -> None:
    config = read({"own.yaml": POLICY.format(name="default", objective="fastest")}, base=False, shipped=True)
    assert config.policies["default"].objective == "fastest"
    assert set(config.catalog.models) == {"flux-2-pro"}
    assert config.sources == ("own.yaml", "shipped/base.yaml")


@pytest.mark.usefixtures("with_base_as_shipped")
def test_a_users_model_replaces_the_shipped_one_of_its_id_from_any_document() -> None:
    own = MODEL.format(name="own", id="flux-2-pro", remote="mine") + "---" + MODEL.format(name="b", id="b", remote="b")
    catalog = read({"own.yaml": own}, base=False, shipped=True).catalog
    assert {deployment.id: deployment.remote for deployment in catalog.deployments} == {
        "flux-2-pro@bfl": "mine",
        "b@bfl": "b",
    }
    assert catalog.models["flux-2-pro"].vendor == "Ours"


@pytest.mark.usefixtures("with_base_as_shipped")
def test_a_users_catalog_of_a_shipped_name_takes_all_its_models_away() -> None:
    own = MODEL.format(name="base", id="only", remote="r")
    assert set(read({"own.yaml": own}, base=False, shipped=True).catalog.models) == {"only"}


@pytest.mark.usefixtures("with_base_as_shipped")
def test_two_documents_of_the_users_never_replace_each_other() -> None:
    one = POLICY.format(name="eu", objective="best")
    with pytest.raises(ConfigError) as caught:
        read({"a.yaml": one, "b.yaml": one}, base=False, shipped=True)
    assert caught.value.problems == (Problem("b.yaml", 3, 18, 'RoutingPolicy "eu" is already defined at a.yaml:3:18'),)


# --------------------------------------------------------------------------------------------------------------- hash


def test_the_hash_is_that_of_the_content_alone() -> None:
    provider, catalog, policy = BASE.split("---\n")
    whole = read({}).hash
    assert len(whole) == 12
    assert int(whole, 16)
    split = {"z.yaml": provider, "m.yaml": "# moved\n" + policy, "a.yaml": catalog.replace("0.7,", "0.70,")}
    assert read(split, base=False).hash == whole
    flow = '{"kind": "RoutingPolicy", "metadata": {"name": "default"}, "apiVersion": "muxel.dev/v1alpha1"}'
    assert read({"b.yaml": f"{catalog}---\n{provider}---\n{flow}"}, base=False).hash == whole


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.03", "0.04"),
        ("maxEdge: 2048", "maxEdge: 4096"),
        ("BFL_API_KEY", "OTHER"),
        ("default", "default\n  labels: {a: b}"),
    ],
)
def test_the_hash_changes_with_any_value(old: str, new: str) -> None:
    changed = BASE.replace("metadata: {name: default}", "metadata:\n  name: default").replace(old, new)
    assert changed != BASE
    assert read({"base.yaml": changed}, base=False).hash != read({}).hash


@pytest.mark.usefixtures("with_base_as_shipped")
def test_what_was_replaced_is_not_in_the_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"own.yaml": MODEL.format(name="own", id="flux-2-pro", remote="mine")}
    before = read(own, base=False, shipped=True).hash
    cheaper = BASE.replace("first: 0.03", "first: 0.01").encode()
    monkeypatch.setattr("policies.load._shipped_files", lambda: {"shipped/base.yaml": cheaper})
    assert read(own, base=False, shipped=True).hash == before


# -------------------------------------------------------------------------------------------------------------- files


def test_a_manifest_counts_as_the_documents_in_it() -> None:
    inside = "\n".join("    " + line for line in BASE.splitlines())
    manifest = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m}}\ndata:\n  base.yaml: |\n{inside}\n"
    assert read({"manifest.yaml": manifest}, base=False).hash == read({}).hash


# ------------------------------------------------------------------------------------------------------- YAML's traps


def test_words_and_figures_mean_what_they_look_like() -> None:
    spec = "{rules: [{name: one, mark: no, refuse: on, match: {language: [no], headers: {on: yes, 1: 12:30}}}]}"
    text = f"apiVersion: muxel.dev/v1alpha1\nkind: RoutingPolicy\nmetadata: {{name: x}}\nspec: {spec}"
    rule = read({"x.yaml": text}).policies["x"].rules[0]
    assert (rule.mark, rule.refuse) == ("no", "on")


def test_an_anchor_may_be_used_again() -> None:
    text = POLICY.format(name="x", objective="best").replace(
        "{objective: best}", "\n  rules: [{name: a, use: &ours {models: [flux-pro]}}, {name: b, avoid: *ours}]"
    )
    rules = read({"x.yaml": text}).policies["x"].rules
    assert rules[0].use is not None
    assert rules[1].avoid is not None


def test_an_operation_that_no_wire_can_send_may_be_listed_and_one_that_some_can_must_be_sendable_there() -> None:
    model = """
apiVersion: muxel.dev/v1alpha1
kind: ModelCatalog
metadata: {name: films}
spec:
  models:
    - id: film-1
      vendor: Acme
      operations: [video.generate%s]
      deployments:
        - {provider: bfl, remote: film-1}
        - {provider: bfl, remote: film-2, operations: [video.generate%s]}
"""
    films = read({"films.yaml": model % ("", "")}).catalog
    assert [one.operations for one in films.deployments if one.model.id == "film-1"] == [frozenset()] * 2
    told = problems({"films.yaml": model % (", image.upscale", ", image.upscale")})
    assert told == [
        "films.yaml:11:11: spec.models[0].deployments[0]: wire bfl cannot do image.upscale:"
        " list the operations this deployment has",
        "films.yaml:12:72: spec.models[0].deployments[1].operations[1]: wire bfl cannot do image.upscale",
    ]


# -------------------------------------------------------------------------------------------------------- the shipped


def test_the_shipped_documents_pass_where_a_users_would() -> None:
    facts = {
        name: WireFacts(wire.provider.PROVIDER_OPERATIONS, wire.provider.OPTIONS)
        for name, wire in REGISTERED.items()
        if wire.provider
    }
    shipped = load_documents({}, facts)
    assert "default" in shipped.policies
    folder = HERE.parents[1] / "policies"
    files = {str(file): file.read_bytes() for file in (*folder.glob("defaults/*.yaml"), *folder.glob("models/*.yaml"))}
    assert load_documents(files, facts, shipped=False).hash == shipped.hash


TATTOOS = """
apiVersion: muxel.dev/v1alpha1
kind: TaskLexicon
metadata: {name: studio}
spec:
  tasks:
    tattoo:
      group: image
      phrases:
        4: [tattoo flash, Tätowierung, 纹身]
        2: [blackwork]
    logo:
      phrases: {5: [house mark]}
"""


def test_an_operator_adds_a_task_and_phrases_in_yaml_alone() -> None:
    lexicon = read({"tattoos.yaml": TATTOOS}).lexicon()
    prompts = {
        "a page of tattoo flash, blackwork swallows": "tattoo",
        "Tätowierung mit Rosen": "tattoo",
        "龙的纹身": "tattoo",
        "a house mark for our bakery": "logo",
        "infographic about the water cycle": "infographic",
    }
    told = {prompt: classify(MediaRequest(Operation.GENERATE, prompt=prompt), lexicon).task for prompt in prompts}
    assert told == prompts


def test_a_task_of_ones_own_may_be_named_by_policies_and_models() -> None:
    policy = """
apiVersion: muxel.dev/v1alpha1
kind: RoutingPolicy
metadata: {name: studio}
spec: {rules: [{name: ink, match: {task: [tattoo]}, tier: premium}]}
"""
    alone, both = (
        read({"policy.yaml": policy.replace("tattoo]", "logo_vector]")}),
        read({"t.yaml": TATTOOS, "p.yaml": policy}),
    )
    assert both.policies["studio"].rules[0].name == "ink"
    assert both.hash != alone.hash


def test_what_could_not_be_read_is_told_and_nothing_is_held_against_it() -> None:
    rule = "{name: ours, use: {models: [defined-there]}, objectve: best}"
    text = (
        f"apiVersion: muxel.dev/v1alpha1\nkind: RoutingPolicy\nmetadata: {{name: other}}\nspec: {{rules: [{rule}]}}\n"
    )
    unread = Problem("there.yaml", 1, 1, "no such file or directory")
    with pytest.raises(ConfigError) as caught:
        load_documents({"here.yaml": text}, WIRES, shipped=False, tasks=TASKS, unread=[unread])
    misspelt, missing = caught.value.problems
    assert "objectve" in misspelt.message
    assert missing == unread
