"""What each list format says about the user and the owner of a reference."""

from __future__ import annotations

import json
from typing import Any

import pytest

from auditor.input.input_items import InputOrigin, InputSelector, RejectedEntry
from auditor.input.lists import list_has_sources
from auditor.input.source_table import RecordedSources, SourceTable
from auditor.oci.reference import Reference
from tests.unit.input.test_lists import items

A = "r.example.com/a:1"


def recorded(text: str) -> dict[str, Any]:
    """The fields of the record of `A`, for a list `list` with this text."""
    with SourceTable() as table:
        found = items(text.encode("utf-8", "surrogateescape"))
        for item in found:
            table.add("list", item)
        table.finish()
        for item in found:
            if isinstance(item, RejectedEntry):
                return _fields(table.of_rejected(item))
            if isinstance(item.selector, Reference) and str(item.selector) == A:
                return _fields(table.of_reference(item.selector))
    raise AssertionError(f"{A} is not in the list")


def _fields(found: RecordedSources) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(json.dumps(vars(found), default=vars))
    return fields


def uses(text: str) -> list[tuple[Any, ...]]:
    return [
        (one["place"], one["namespace"], one["workload"], one["container"])
        for one in recorded(text)["sources"]
    ]


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        (f"reference,team\n{A},web\n", {"team": ["web"]}),
        (f"reference;Cost Centre;tag\n{A};7;\n", {"Cost Centre": ["7"]}),
        (f"reference,team\n{A},\n", {}),  # an empty field is no value
        (f"reference,team,team\n{A},web,ops\n", {"team": ["ops", "web"]}),
        (f"reference,,team\n{A},no title,web\n", {"team": ["web"]}),
        (f"reference,team\n{A}\n", {}),  # a short row
        (f'{{"reference":"{A}","team":"web","n":7,"on":true}}',
         {"n": ["7"], "on": ["true"], "team": ["web"]}),
        (f'{{"reference":"{A}","team":["web","ops"],"none":null,"empty":""}}',
         {"team": ["ops", "web"]}),
        (f'{{"reference":"{A}","owner":{{"team":"web","of":{{"x":1.5}}}}}}',
         {"owner.of.x": ["1.5"], "owner.team": ["web"]}),
        # Text that is not UTF-8, NUL, an address, and a password.
        (f"reference,team\n{A},M\udcfcller\n", {"team": ["M\ufffdller"]}),
        (f'{{"reference":"{A}","a":"x\\u0000y"}}', {"a": ["x\ufffdy"]}),
        (f"reference,owner\n{A},ann@example.com\n", {"owner": ["ann@example.com"]}),
        # Own output.
        (f'{{"schema":1,"kind":"image","reference":"{A}","size":5}}', {}),
        (f'{{"reference":"{A}","media_type":null,"size":5,"created":null,'
         '"pushed":null,"pulled":null}', {}),
    ],
)  # fmt: skip
def test_other_columns_and_keys_are_labels(
    text: str, labels: dict[str, list[str]]
) -> None:
    found = recorded(text)
    assert found["input_labels"] == labels
    assert found["input_labels_left_out"] == 0


def test_a_password_in_a_label_is_masked() -> None:
    text = f"reference,url\n{A},https://ann:secret@example.com/x\n"
    assert "secret" not in json.dumps(recorded(text))


def test_long_labels_and_many_are_left_out_and_counted() -> None:
    text = json.dumps({"reference": A, "text": "x" * 1001, "team": "web"})
    found = recorded(text)
    assert (found["input_labels"], found["input_labels_left_out"]) == (
        {"team": ["web"]},
        1,
    )
    many = {f"key {number}": "v" for number in range(150)}
    assert recorded(json.dumps({"reference": A, **many}))["input_labels_left_out"] == 50


def test_a_malformed_row_has_its_labels() -> None:
    found = recorded("reference,team\nNot A Reference,web\n")
    assert found["input_labels"] == {"team": ["web"]}
    assert [one["place"] for one in found["sources"]] == ["list:2"]


def test_a_record_of_a_report_carries_what_it_has() -> None:
    record: dict[str, Any] = {
        "schema": 1, "kind": "failure", "reference": A, "detail": "not a label",
        "sources": [
            {"list": "pods", "place": "pods:shop/web-1/main", "namespace": "shop",
             "workload": "Deployment/web", "container": "main"},
            {"place": 7}, "odd",
        ],
        "sources_left_out": 3,
        "input_labels": {"team": ["web", "ops"]},
        "input_labels_left_out": 2,
    }  # fmt: skip
    assert recorded(json.dumps(record)) == {
        "sources": record["sources"][:1],
        "sources_left_out": 3,
        "input_labels": {"team": ["ops", "web"]},
        "input_labels_left_out": 2,
    }


def owned(kind: str, name: str, **labels: str) -> dict[str, Any]:
    owner = {"kind": kind, "name": name, "controller": True}
    return {"ownerReferences": [owner], "labels": labels}


@pytest.mark.parametrize(
    ("metadata", "workload"),
    [
        ({}, "Pod/one"),
        (owned("DaemonSet", "agent"), "DaemonSet/agent"),
        (owned("ReplicaSet", "web-5d4"), "ReplicaSet/web-5d4"),
        (owned("ReplicaSet", "web-5d4", **{"pod-template-hash": "5d4"}),
         "Deployment/web"),
        ({"ownerReferences": [{"kind": "Node", "name": "n", "controller": False}]},
         "Pod/one"),
        ({"ownerReferences": "odd", "labels": []}, "Pod/one"),
        ({"name": None, "generateName": "job-"}, "Pod/job-"),
    ],
)  # fmt: skip
def test_a_pod_is_the_workload_that_controls_it(
    metadata: dict[str, Any], workload: str
) -> None:
    def pod(name: str) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "shop", **metadata},
            "spec": {"containers": [{"name": "main", "image": A}]},
        }

    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": [pod("one")]})
    assert [one[1:] for one in uses(text)] == [("shop", workload, "main")]
    twice = {"apiVersion": "v1", "kind": "List", "items": [pod("one"), pod("one")]}
    assert len(uses(json.dumps(twice))) == 1


YAML = f"""\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: shop}}
spec: {{template: {{spec: {{containers: [
  {{name: main, image: "{A}"}},
  {{name: side, image: "{A}"}}]}}}}}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {{name: clean}}
spec: {{jobTemplate: {{spec: {{template: {{spec: {{containers: [
  {{name: main, image: "{A}"}}]}}}}}}}}}}
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{A}\n# no\n{A}\n",
         [("list:1", None, None, None), ("list:3", None, None, None)]),
        (YAML, [
            ("list:5", "shop", "Deployment/web", "main"),
            ("list:6", "shop", "Deployment/web", "side"),
            ("list:12", None, "CronJob/clean", "main"),
        ]),
        (f"name: shop\nservices:\n  web:\n    image: {A}\n  db:\n    image: {A}\n",
         [("list:4", "shop", "service/web", None),
          ("list:6", "shop", "service/db", None)]),
        (f"FROM {A}\nFROM {A} AS build\nCOPY --from={A} /x /y\n",
         [("list:1", None, "stage/0", None), ("list:2", None, "stage/build", None)]),
    ],
)  # fmt: skip
def test_documents_name_their_workloads(
    text: str, expected: list[tuple[Any, ...]]
) -> None:
    assert uses(text) == expected


def test_repeats_are_no_items_of_their_own() -> None:
    found = items(YAML.encode())
    assert all(isinstance(item, InputSelector) for item in found)
    assert [item.origin is not None and item.origin.is_repeat for item in found] == [
        False,
        True,
        True,
    ]
    assert InputOrigin().is_repeat is False


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"reference": "a", "team": "web"}', True),
        ('{"apiVersion": "v1", "kind": "Pod"}', True),
        ("{", True),  # the first line of a document
        ('{"schema": 1, "kind": "image", "reference": "a", "sources": null}', False),
        ('{"schema": 1, "kind": "image", "reference": "a", "sources": []}', True),
        ('{"schema": 1, "kind": "failure", "reference": "a"}', False),
        ("reference,team", True),
        ("reference", False),
    ],
)
def test_whether_a_list_has_sources_is_said_by_its_first_line(
    line: str, expected: bool
) -> None:
    assert list_has_sources(line) is expected
