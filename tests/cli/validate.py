# Judges objects by JSON Schemas (2020-12), with a validator that is not ours.
#
# Reads {"schemas": {NAME: SCHEMA}, "objects": [[NAME, OBJECT]]} and prints a line for each fault. Schemas leave open which
# fields later versions add; here they are closed first, so that a field which the schema does not describe is a fault too.
import json
import sys

from jsonschema import Draft202012Validator


def closed(schema):
    for part in [schema, *schema.get("$defs", {}).values()]:
        if "properties" in part:
            part["unevaluatedProperties"] = False
    return schema


told = json.load(sys.stdin)
validators = {}
for name, schema in told["schemas"].items():
    Draft202012Validator.check_schema(schema)
    validators[name] = Draft202012Validator(closed(schema))
for name, found in told["objects"]:
    if name not in validators:
        print(f"there is no schema {name}: {found}")
        continue
    for fault in validators[name].iter_errors(found):
        print(f"{name} at {fault.json_path}: {fault.message}")
