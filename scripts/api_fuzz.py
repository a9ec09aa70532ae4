"""What Schemathesis cannot make up by itself: who it is, and accounts that there are."""

import json
import os
import re
import uuid

import requests
import schemathesis

URL = os.environ["FUZZ_URL"]
CA = os.environ["FUZZ_CA"]
WHO = json.loads(os.environ["FUZZ_WHO"])
# Of this customer, with money in them.
ACCOUNTS = os.environ["FUZZ_ACCOUNTS"].split()

WELL_FORMED = re.compile(r"acc_[0-9a-z]{26}")
WELL_FORMED_KEY = re.compile(r"[!#-+\--:<-\[\]-~]{1,255}")


@schemathesis.auth(refresh_interval=300)
class Customer:
    """Logs in again while its token still lives: a run of any length is one of a customer."""

    def get(self, case, context):
        answer = requests.post(f"{URL}/api/v1/auth/login", json=WHO, verify=CA, timeout=20)
        answer.raise_for_status()
        return answer.json()["access_token"]

    def set(self, case, data, context):
        case.headers["Authorization"] = f"Bearer {data}"


def real(account, place):
    """Half of the ids that are well formed become those of accounts: made-up ones alone never get past 404.

    What is malformed stays, so that a request which must be refused is still one.
    """
    if isinstance(account, str) and WELL_FORMED.fullmatch(account) and ord(account[-1]) % 2:
        return ACCOUNTS[place]
    return account


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    if path_parameters and "id" in path_parameters:
        path_parameters["id"] = real(path_parameters["id"], 0)
    return path_parameters


@schemathesis.hook
def map_headers(context, headers):
    """Half of the keys are new ones: the generator likes `0`, and a key that comes again is refused for that alone."""
    key = (headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and WELL_FORMED_KEY.fullmatch(key) and ord(key[-1]) % 2 == 0:
        headers["Idempotency-Key"] = str(uuid.uuid4())
    return headers


@schemathesis.hook
def map_body(context, body):
    if isinstance(body, dict):
        for place, name in enumerate(["from_account_id", "to_account_id"]):
            if name in body:
                body[name] = real(body[name], place)
        if "currency" in body and isinstance(body["currency"], str) and re.fullmatch("[A-Z]{3}", body["currency"]):
            body["currency"] = "EUR"
    return body
