"""The description of the HTTP interface."""

from __future__ import annotations

import json
import re

import pytest
from fakes import DEFINITIONS, Rig
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from twisted.internet.task import Clock
from web import Client

from evok_twisted.api.http import JsonResource
from evok_twisted.core.dialects import fragment, state_object
from evok_twisted.model.aliases import AliasTable, Target
from evok_twisted.model.kinds import DEVICES, DIALECTS, KINDS
from evok_twisted.model.system import DeviceInfo, DeviceInfoState

MODELS = sorted(file.stem for file in DEFINITIONS.glob("*.yaml"))


@pytest.fixture
def document():
    return Client().get("/openapi.json").json


def validator(document, name):
    return OAS31Validator({"$ref": f"#/components/schemas/{name}", "components": document["components"]})


def wrong(document, name, value):
    return [error.message for error in validator(document, name).iter_errors(value)]


def test_it_is_openapi_3_1(document):
    assert document["openapi"] == "3.1.0"
    OpenAPIV31SpecValidator(document).validate()


def test_every_path_that_is_served_is_in_it_with_every_method(document):
    tree = Client().tree
    served = {
        "/".join(["", prefix.decode(), *([template] if template else [])]): {
            *(method.decode().lower() for method in operations),
            "options",
        }
        for prefix, resource in tree.items()
        if isinstance(resource, JsonResource)
        for template, operations in resource.paths.items()
    }
    described = {path: set(item) - {"parameters"} for path, item in document["paths"].items()}
    assert described == served
    assert {"/rest/all", "/json/{dev}/{circuit}", "/bulk", "/rpc", "/version", "/openapi.json"} <= described.keys()


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("model", MODELS)
def test_the_states_of_every_board_are_as_described(model, dialect):
    rig = Rig(Clock(), model).start()
    described = Client(rig=rig).get("/openapi.json").json
    check = validator(described, "State")
    for device in rig.registry:
        shown = json.loads(fragment(device, dialect))
        assert [error.message for error in check.iter_errors(shown)] == [], device


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_no_board_has_is_as_described_too(document, dialect):
    table = AliasTable(lambda: {"door": Target(("do",), "1_01")})
    info = DeviceInfo("LOCAL", DeviceInfoState("Neuron", "L533", 0, 3))
    for device in (table, info):
        assert wrong(document, "State", state_object(device, dialect)) == []


def test_every_class_of_devices_is_described(document):
    shown = document["components"]["schemas"]["State"]["discriminator"]["mapping"]
    assert shown.keys() == {KINDS[device.kind].dev(dialect) for device in DEVICES for dialect in DIALECTS}
    assert [one["$ref"] for one in document["components"]["schemas"]["State"]["oneOf"]] == list(shown.values())


@pytest.mark.parametrize(
    "state",
    [
        {"dev": "led", "circuit": "1_01"},
        {"dev": "led", "circuit": "1_01", "value": "on", "glob_dev_id": 2},
        {"dev": "led", "circuit": "1_01", "value": 1, "glob_dev_id": 2, "colour": "red"},
        {"dev": "lamp", "circuit": "1_01", "value": 1},
    ],
)
def test_what_we_do_not_send_does_not_fit_the_description(document, state):
    assert wrong(document, "State", state)


def test_parameters_are_those_of_the_circuits_that_are_there(document):
    parameters = document["components"]["schemas"]["Parameters"]["properties"]
    assert {"value", "timeout", "pwm_duty", "debounce", "counter_mode", "alias", "nv_save"} <= parameters.keys()
    assert {"type": "integer", "minimum": 0, "maximum": 65535} in parameters["debounce"]["anyOf"]


def test_errors_are_described_with_their_status(document):
    responses = document["paths"]["/rest/{dev}/{circuit}"]["post"]["responses"]
    described = {
        status: re.findall(r"schemas/(\w+)", json.dumps(answer["content"]["application/json"]["schema"]))
        for status, answer in responses.items()
        if int(status) >= 400
    }
    assert described["404"] == ["UnknownDeviceError", "UnknownCircuitError"]
    assert described["409"] == ["ConflictError", "SupersededError"]
    assert described["502"] == ["OfflineError", "RefusedError", "BadAnswerError"]
    error = {"success": False, "errors": {"Offline": "bus TCP is offline"}, "sent": False}
    assert wrong(document, "OfflineError", error) == []
    assert wrong(document, "RefusedError", error)
    assert described.keys() == {*("400", "401", "403", "404", "405", "409", "413", "429", "500", "502", "503", "504")}


def test_circuits_of_the_unit_are_given_as_examples(document):
    (_, circuit, _) = document["paths"]["/rest/{dev}/{circuit}"]["parameters"]
    assert "1_01" in circuit["schema"]["examples"]


def operations(document):
    return [
        operation
        for path in document["paths"].values()
        for method, operation in path.items()
        if method in ("get", "post", "options")
    ]


def test_every_operation_has_a_name_of_its_own_and_a_heading(document):
    names = [operation["operationId"] for operation in operations(document)]
    assert len(set(names)) == len(names)
    assert {"rest_set", "json_get", "bulk_post", "rpc_call", "health_get", "version_get"} <= set(names)
    headings = {tag["name"] for tag in document["tags"]}
    assert {tag for operation in operations(document) for tag in operation["tags"]} == headings


def test_every_schema_is_referred_to_and_every_reference_is_to_one(document):
    text = json.dumps(document)
    schemas = document["components"]["schemas"]
    assert set(re.findall(r'"#/components/schemas/(\w+)"', text)) == schemas.keys()


def test_every_schema_parameter_and_error_is_explained(document):
    schemas = document["components"]["schemas"]
    lists = {name for name, of in schemas.items() if "anyOf" in of}
    assert [name for name, of in schemas.items() if not of.get("description") and name not in lists] == []
    parameters = [one for path in document["paths"].values() for one in path.get("parameters", ())]
    assert all(one["description"] for one in parameters)
    assert "``" not in json.dumps(document)


def test_what_is_assigned_in_bulk_is_typed(document):
    schemas = document["components"]["schemas"]
    for name in ("IndividualAssignment", "GroupAssignment"):
        assert schemas[name]["properties"]["assigned_values"] == {"$ref": "#/components/schemas/Parameters"}


def test_where_the_service_is_is_said(document):
    assert document["servers"][0]["url"] == "/"
