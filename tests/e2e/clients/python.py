"""A client that openapi-python-client has made, used as its users do."""

import sys

from evok_client import Client
from evok_client.api.bulk import bulk_post
from evok_client.api.rest import rest_get, rest_set
from evok_client.models import (
    BulkRequest,
    Dev,
    GroupQuery,
    IndividualAssignment,
    Parameters,
    RelayState,
    Success,
    UnknownCircuitError,
)

client = Client(base_url=sys.argv[1])
done = rest_set.sync(Dev.RELAY, "2_01", client=client, body=Parameters(value="1"))
assert isinstance(done, Success), done
state = rest_get.sync(Dev.RELAY, "2_01", client=client)
assert isinstance(state, RelayState), state
asked = BulkRequest(
    individual_assignments=[IndividualAssignment("relay", "2_02", Parameters(value="1"))],
    group_queries=[GroupQuery(["relay"], device_circuits=["2_01", "2_02"])],
)
answer = bulk_post.sync(client=client, body=asked)
wrong = rest_get.sync(Dev.RELAY, "nope", client=client)
assert isinstance(wrong, UnknownCircuitError), wrong
print(state.value, state.pending, len(answer.group_queries[0]), wrong.errors.unknown_circuit[:20])
