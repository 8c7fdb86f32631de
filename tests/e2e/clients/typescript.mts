// A client with the types that openapi-typescript makes, as its users write it.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

const client = createClient<paths>({ baseUrl: process.argv[2] });
const where = { path: { dev: "relay" as const, circuit: "2_01" } };

const set = await client.POST("/rest/{dev}/{circuit}", { params: where, body: { value: 1 } });
if (set.error) throw new Error(JSON.stringify(set.error));
const got = await client.GET("/rest/{dev}/{circuit}", { params: where });
if (got.error) throw new Error(JSON.stringify(got.error));
const state: components["schemas"]["State"] = got.data;
if (state.dev !== "relay") throw new Error("no relay");
const value = state.value;
const bulk = await client.POST("/bulk", {
  body: {
    individual_assignments: [{ device_type: "relay", device_circuit: "2_02", assigned_values: { value: 1 } }],
    group_queries: [{ device_types: ["relay"], device_circuits: ["2_01", "2_02"] }],
  },
});
if (bulk.error) throw new Error(JSON.stringify(bulk.error));
const wrong = await client.GET("/rest/{dev}/{circuit}", { params: { path: { dev: "relay", circuit: "nope" } } });
console.log(value, state.pending, bulk.data.group_queries[0].length, Object.keys(wrong.error!.errors)[0]);
