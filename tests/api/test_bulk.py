"""``/bulk`` through the real resource tree, in memory."""

from __future__ import annotations

import json

import pytest
from fakes import TwoBoards
from twisted.internet.task import Clock
from web import Client

from evok_twisted.errors import Refused
from evok_twisted.model.registers import WriteCoils


@pytest.fixture
def boards():
    return TwoBoards(Clock())


@pytest.fixture
def client(boards):
    return Client(rig=boards)


def one(circuit="2_01", kind="relay", **values):
    return {"device_type": kind, "device_circuit": circuit, "assigned_values": values or {"value": 1}}


def circuits(states):
    return [state["circuit"] for state in states]


def written(boards):
    return [*boards.main.bus.written, *boards.extension.bus.written]


@pytest.mark.parametrize("path", ["/bulk", "/bulk/"])
def test_individual_assignments_are_answered_with_the_new_states(client, path):
    answer = client.post(path, {"individual_assignments": [one(), one("1_01", "led"), one("1_01", "ao", value="5")]})
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert [(state["dev"], state["value"]) for state in answer.json["individual_assignments"]] == [
        ("relay", 1),
        ("led", 1),
        ("ao", 5),
    ]
    assert answer.json["group_assignments"] == answer.json["group_queries"] == []


def test_group_assignments_are_answered_with_a_list_for_each(client):
    group = {"device_type": "relay", "device_circuits": ["2_01", "2_02"], "assigned_values": {"value": 1}}
    leds = {"device_type": "led", "assigned_values": {"value": "1"}}
    answer = client.post("/bulk", {"group_assignments": [group, leds]})
    (relays, lights) = answer.json["group_assignments"]
    assert [(state["circuit"], state["value"]) for state in relays] == [("2_01", 1), ("2_02", 1)]
    assert circuits(lights) == ["1_01", "1_02", "1_03", "1_04"]


def test_a_group_assignment_with_every_narrowing_key_works(client, boards):
    """Defect 14 of Evok: group assignments fail."""
    group = {
        "device_type": "relay",
        "device_circuits": ["2_01", "2_02"],
        "group": "2",
        "global_device_id": 3,
        "assigned_values": {"value": 1},
    }
    answer = client.post("/bulk", {"group_assignments": [group]})
    assert (answer.status, circuits(answer.json["group_assignments"][0])) == (200, ["2_01", "2_02"])
    assert [type(write) for write in written(boards)] == [WriteCoils]


@pytest.mark.parametrize(
    ("narrowed", "expected"),
    [
        ({"device_types": ["led"]}, ["1_01", "1_02", "1_03", "1_04"]),
        ({"device_types": ["ai", "ao"], "group": "2"}, ["2_01", "2_02", "2_03", "2_04"] * 2),
        ({"device_types": ["ai"], "group": 1}, ["1_01"]),
        ({"device_types": ["ai"], "global_device_id": 2}, ["1_01"]),
        ({"device_types": ["ai"], "global_device_id": "2"}, ["1_01"]),
        ({"device_types": ["ai", "ao"], "device_circuits": ["1_01"]}, ["1_01", "1_01"]),
        ({"device_types": ["ai", "led"], "device_circuits": ["2_01", "1_02"]}, ["2_01", "1_02"]),
        ({"device_types": ["ai"], "device_circuits": ["2_01", "1_01"], "group": "1"}, ["1_01"]),
        ({"device_types": ["ai"], "group": "1", "global_device_id": 3}, []),
        ({"device_types": ["relay"]}, [*(f"1_0{n}" for n in range(1, 5)), *(f"2_0{n}" for n in range(1, 6))]),
        ({"device_types": ["relay", "do", "relay"], "group": "1"}, [f"1_0{n}" for n in range(1, 5)]),
        ({"device_types": []}, []),
    ],
)
def test_each_key_of_a_group_query_narrows(client, narrowed, expected):
    answer = client.post("/bulk", {"group_queries": [narrowed]})
    assert answer.status == 200
    assert sorted(circuits(answer.json["group_queries"][0])) == sorted(expected)


def test_questions_are_answered_after_the_assignments(client):
    query = {"device_types": ["relay"], "device_circuits": ["2_01"]}
    answer = client.post("/bulk", {"group_queries": [query], "individual_assignments": [one()]})
    assert answer.json["group_queries"][0][0]["value"] == 1


def test_an_alias_is_a_circuit_here_too(client):
    client.post("/json/relay/2_03", {"alias": "door"})
    query = {"device_types": ["relay"], "device_circuits": ["door"]}
    answer = client.post("/bulk", {"individual_assignments": [one("door")], "group_queries": [query]})
    assert circuits(answer.json["individual_assignments"]) == circuits(answer.json["group_queries"][0]) == ["2_03"]


def test_a_dialect_may_be_chosen(client):
    answer = client.post("/bulk?dialect=v3", {"individual_assignments": [one()]})
    assert answer.json["individual_assignments"] == [{"dev": "ro", "circuit": "2_01", "value": 1}]
    assert client.post("/bulk?dialect=latin", {}).error == (400, "BadValue")


def test_what_fails_at_the_hardware_fails_in_its_place(client, boards):
    boards.main.bus.refusing = Refused("refused: illegal data address (2)", 2)
    group = {"device_type": "led", "device_circuits": ["1_01", "1_02"], "assigned_values": {"value": 1}}
    answer = client.post("/bulk", {"individual_assignments": [one("1_01"), one("2_01")], "group_assignments": [group]})
    assert answer.status == 207
    failure = {"success": False, "errors": {"Refused": "refused: illegal data address (2)"}, "sent": False}
    failed, worked = answer.json["individual_assignments"]
    assert failed == failure
    assert (worked["circuit"], worked["value"]) == ("2_01", 1)
    assert answer.json["group_assignments"] == [[failure, failure]]


def test_a_board_that_is_offline_fails_in_its_place(client, boards):
    boards.main.bus.turn(False)
    answer = client.post("/bulk", {"individual_assignments": [one("1_01"), one("2_01")]})
    assert answer.status == 207
    assert list(answer.json["individual_assignments"][0]["errors"]) == ["Offline"]
    assert answer.json["individual_assignments"][1]["value"] == 1


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"individual_assignments": [one(), one("9_09")]}, (404, "UnknownCircuit", "individual_assignments[1]: ")),
        ({"individual_assignments": [one(), one(kind="lamp")]}, (404, "UnknownDevice", "individual_assignments[1]: ")),
        ({"individual_assignments": [one(), one(value=2)]}, (400, "BadValue", "individual_assignments[1]: value: ")),
        ({"individual_assignments": [one(), one(colour=2)]}, (400, "BadParameter", "individual_assignments[1]: ")),
        ({"individual_assignments": [one(), {**one(), "assigned_values": {}}]}, (400, "BadParameter", "[1]: ")),
        (
            {"individual_assignments": [one(), one("1_01", value=1, pwm_duty=5)]},
            (409, "Conflict", "individual_assignments[1]: "),
        ),
        (
            {
                "individual_assignments": [one()],
                "group_assignments": [{"device_type": "relay", "group": "7", "assigned_values": {"value": 1}}],
            },
            (404, "UnknownDevice", "group_assignments[0]: group: there is no configured device '7'; there are 1, 2"),
        ),
        (
            {
                "individual_assignments": [one()],
                "group_assignments": [{"device_type": "relay", "global_device_id": 9, "assigned_values": {"value": 1}}],
            },
            (404, "UnknownDevice", "group_assignments[0]: global_device_id: "),
        ),
        (
            {
                "individual_assignments": [one()],
                "group_assignments": [{"device_type": "led", "assigned_values": {"value": 1, "alias": "x"}}],
            },
            (409, "Conflict", "group_assignments[0]: "),
        ),
        (
            {"individual_assignments": [one()], "group_queries": [{"device_types": ["lamp"]}]},
            (404, "UnknownDevice", "group_queries[0]: "),
        ),
        (
            {
                "individual_assignments": [one()],
                "group_queries": [{"device_types": ["ai", "ao"], "device_circuits": ["7_07"]}],
            },
            (404, "UnknownCircuit", "group_queries[0]: ai and ao has no circuit"),
        ),
        ({"individual_assignments": [{**one(), "device_circuits": ["2_01"]}]}, (400, "BadRequest", "device_circuits")),
        ({"individual_assignments": [{"device_type": "ro"}]}, (400, "BadRequest", "device_circuit")),
        ({"individual_asignments": [one()]}, (400, "BadRequest", "individual_asignments")),
        ([one()], (400, "BadRequest", "individual_assignments, group_assignments, group_queries")),
        (b"", (400, "BadRequest", "JSON")),
        (b"\xff", (400, "BadRequest", "")),
        (b"[" * 100_000, (400, "BadRequest", "")),
    ],
)
def test_a_mistake_anywhere_is_told_and_nothing_is_written(client, boards, wrong, error):
    answer = client.post("/bulk", wrong)
    status, name, message = error
    assert answer.error == (status, name)
    assert message in answer.json["errors"][name]
    assert written(boards) == []


def test_only_post_is_taken(client):
    answer = client.get("/bulk")
    assert (answer.error, answer.headers["allow"]) == ((405, "MethodNotAllowed"), "POST, OPTIONS")
    assert client.send("OPTIONS", "/bulk").received.status == 204
    assert client.get("/bulk/more").status == 404


@pytest.mark.parametrize(
    "many",
    [
        {"individual_assignments": [one()] * 1001},
        {"group_queries": [{"device_types": ["led"]}] * 1001},
        {"group_queries": [{"device_types": ["register", "led", "relay", "ai"]}] * 100},
        {"group_assignments": [{"device_type": "register", "assigned_values": {"value": 1}}] * 100},
        {"group_queries": [{"device_types": ["led"], "device_circuits": ["1_01"] * 2049}]},
    ],
)
def test_a_request_that_would_keep_the_service_busy_is_refused(client, boards, many):
    client.send("POST", "/bulk", json.dumps(many).encode())
    boards.clock.pump([0] * 20)
    assert client.received.error == (400, "BadRequest")
    assert written(boards) == []


def test_what_is_named_twice_is_meant_once(client):
    circuits = ["1_01", "1_02"] * 100
    asked = {"device_types": ["led", "led", "input"] * 1000, "device_circuits": circuits, "group": "1"}
    (states,) = client.post("/bulk", {"group_queries": [asked]}).json["group_queries"]
    shown = [(one["dev"], one["circuit"]) for one in states]
    assert shown == [("led", "1_01"), ("input", "1_01"), ("led", "1_02"), ("input", "1_02")]


def test_others_are_answered_while_a_long_request_is_done(client, boards):
    asked = {"group_queries": [{"device_types": ["led"], "device_circuits": ["1_01"]}] * 500}
    client.send("POST", "/bulk", json.dumps(asked).encode())
    assert client.transport.value() == b""
    boards.clock.pump([0] * 12)
    assert len(client.received.json["group_queries"]) == 500
