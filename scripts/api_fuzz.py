"""What Schemathesis cannot make up by itself: who it is, what there is, and what it was told a moment ago."""

import base64
import email
import email.policy
import hashlib
import hmac
import json
import os
import re
import struct
import time
import uuid
from pathlib import Path

import requests
import schemathesis
from requests.structures import CaseInsensitiveDict
from schemathesis.core import NOT_SET

URL = os.environ["FUZZ_URL"]
CA = os.environ["FUZZ_CA"]
# Where the bank puts its mails.
MAIL = Path(os.environ["FUZZ_MAIL"])
WHO = json.loads(os.environ["FUZZ_WHO"])
# Of this customer, with money in them.
ACCOUNTS = os.environ["FUZZ_ACCOUNTS"].split()

WELL_FORMED_ID = re.compile(r"(acc|dev|ses)_[0-7][0-9a-hjkmnp-tv-z]{25}")
WELL_FORMED_KEY = re.compile(r"[!#-+\--:<-\[\]-~]{1,255}")
# What uses the ticket of a mail, and the kind of that mail, as it is in the name of its file.
TICKETS = {
    "/api/v1/auth/email/verify": "registration",
    "/api/v1/auth/email/keep": "email_change_notice",
    "/api/v1/auth/password/reset": "password_reset",
    "/api/v1/auth/unlock": "unlock",
}


def say(case, headers):
    """Cases are made from each other: what one says must not become what the next one says."""
    case.headers = case.headers.copy()
    case.headers.update(headers)


class Session:
    """One log-in of the customer, made anew when it is over or nearly so."""

    def __init__(self):
        self.bearer, self.until, self.given = None, 0.0, set()

    def token(self):
        if time.monotonic() > self.until:
            self.bearer, self.until = log_in()["access_token"], time.monotonic() + 300
            self.given.add(f"Bearer {self.bearer}")
        return self.bearer

    def over(self):
        self.until = 0.0


def post(path, body, **headers):
    return requests.post(URL + path, json=body, verify=CA, timeout=20, headers=headers)


def log_in():
    answer = post("/api/v1/auth/login", WHO)
    answer.raise_for_status()
    return answer.json()


def session_of(pair):
    claims = pair["access_token"].split(".")[1]
    return json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["sid"]


SESSION = Session()


@schemathesis.auth(refresh_interval=None)
class Customer:
    """A run of any length is one of a customer, also after a log-out and after a new password."""

    def get(self, case, context):
        return SESSION.token()

    def set(self, case, data, context):
        say(case, {"Authorization": f"Bearer {data}"})


def register():
    """Somebody new."""
    who = {"email": f"{uuid.uuid4()}@bank.example", "password": f"quartz lagoon {uuid.uuid4()}"}
    post("/api/v1/auth/register", {**who, "full_name": "Ada Fuzz"})
    return who


def bearer_of(who):
    return {"Authorization": f"Bearer {post('/api/v1/auth/login', who).json()['access_token']}"}


def ticket(kind):
    """The ticket of a mail to somebody new: nobody gets many mails a day."""
    who = register()
    if kind == "password_reset":
        post("/api/v1/auth/password/forgot", {"email": who["email"]})
    elif kind == "unlock":
        post("/api/v1/auth/unlock/send", {"email": who["email"]})
    elif kind == "email_change_notice":
        post("/api/v1/me/email", {**who, "email": f"new-{who['email']}"}, **bearer_of(who))
    for _ in range(100):
        for mail in MAIL.glob(f"*-{kind}-*.eml"):
            message = email.message_from_bytes(mail.read_bytes(), policy=email.policy.default)
            if message["to"] == who["email"]:
                return re.search(r"#([\w-]{43})\s", message.get_body(("plain",)).get_content())[1]
        time.sleep(0.05)
    raise TimeoutError(f"no mail of {kind} came")


def totp(secret, step):
    """RFC 6238, as every authenticator has it."""
    mac = hmac.digest(base64.b32decode(secret), struct.pack(">Q", step), hashlib.sha1)
    at = mac[-1] & 15
    return f"{(struct.unpack('>I', mac[at : at + 4])[0] & 0x7FFFFFFF) % 1_000_000:06}"


class Enrolled:
    """Somebody new who has a second factor, or has begun to add one: codes are good once, and ten wrong ones too many."""

    def __init__(self, confirmed=True):
        self.who = register()
        self.bearer = bearer_of(self.who)
        begun = post("/api/v1/me/factors/totp", {"password": self.who["password"]}, **self.bearer)
        self.secret, self.step = begun.json()["secret"], int(time.time()) // 30
        if confirmed:
            told = post("/api/v1/me/factors/totp/confirm", {"code": totp(self.secret, self.step - 1)}, **self.bearer)
            self.recovery_codes = told.json()["recovery_codes"]

    def code(self):
        return totp(self.secret, self.step)

    def challenge(self):
        return post("/api/v1/auth/login", self.who).json()["challenge"]

    def confirmation(self, method, path):
        asked = {"method": method, "path": path, "code": self.code()}
        return post("/api/v1/me/step-up", asked, **self.bearer).json()["token"]


def is_chosen(value, one_in=2):
    """The same choice for the same value: a run with a seed is the same run."""
    return sum(str(value).encode(errors="replace")) % one_in == 0


def real(name, value, path):
    """Of what is well formed, some becomes what there is: made-up values alone never get past 401, 403 and 404.

    What is malformed stays, so that a request which must be refused is still one.
    """
    if not isinstance(value, str):
        return value
    found = WELL_FORMED_ID.fullmatch(value)
    if found:
        if not is_chosen(value):
            return value
        if found[1] == "acc":
            return ACCOUNTS[name == "to_account_id"]
        if found[1] == "ses":
            return session_of(log_in())
        devices = requests.get(
            f"{URL}/api/v1/me/devices", verify=CA, timeout=20, headers={"Authorization": f"Bearer {SESSION.token()}"}
        ).json()["data"]
        return devices[-1]["id"] if devices else value
    if name == "currency" and re.fullmatch("[A-Z]{3}", value):
        return "EUR"
    if name == "current_password" and len(value) <= 1024 and is_chosen(value):
        return WHO["password"]
    if name == "new_password" and len(value) <= 1024 and is_chosen(value):
        return f"quartz lagoon {uuid.uuid4()}"
    if name == "refresh_token" and len(value) <= 128 and is_chosen(value):
        return log_in()["refresh_token"]
    if name == "token" and len(value) <= 128 and path in TICKETS and is_chosen(value, 4):
        return ticket(TICKETS[path])
    return value


def as_integer(value):
    """`2500.0` is an integer for JSON Schema, and no amount for this bank: docs/api-design.md."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


LONGEST = {"challenge": 128, "code": 16, "recovery_code": 64}


def second_factor(case, path):
    """Some of what is well formed comes from somebody with a second factor, who shows it."""
    body, headers = case.body if isinstance(case.body, dict) else {}, case.headers or {}
    secrets = {name: body[name] for name in LONGEST if name in body}
    fits = all(isinstance(value, str) and len(value) <= LONGEST[name] for name, value in secrets.items())
    if not fits or not is_chosen([body, headers.get("X-Step-Up")]):
        return
    is_customer = headers.get("Authorization") in SESSION.given
    if path == "/api/v1/me/factors/totp/confirm" and is_customer and "code" in body:
        person = Enrolled(confirmed=False)
        case.body = {**body, "code": person.code()}
        say(case, person.bearer)
    elif path == "/api/v1/auth/login/factor" and "challenge" in body or path == "/api/v1/me/step-up" and is_customer:
        person = Enrolled()
        shown = {"code": person.code(), "recovery_code": person.recovery_codes[0]}
        if path == "/api/v1/auth/login/factor":
            shown["challenge"] = person.challenge()
        else:
            say(case, person.bearer)
        case.body = {name: shown.get(name, value) for name, value in body.items()}
        if "code" in body:
            case.body.pop("recovery_code", None)
    elif "/factors/" in path and is_customer and len(headers.get("X-Step-Up", "")) == 43:
        person = Enrolled()
        say(case, {**person.bearer, "X-Step-Up": person.confirmation(case.method, path)})


@schemathesis.hook
def before_call(context, case, kwargs):
    path = case.operation.path
    if case.method not in ("POST", "PUT", "PATCH"):
        # To see that a method is not there it is sent as it comes: with a body it is malformed before that (FR-7).
        case.body = NOT_SET
    if any("_" in name for name in case.headers or {}):
        # Headers that no operation names are made up, too; the gateway takes none with an underscore (FR-5).
        case.headers = CaseInsensitiveDict((name, value) for name, value in case.headers.items() if "_" not in name)
    # Tokens are asked for ahead of time, and a session may have ended since.
    if (case.headers or {}).get("Authorization") in SESSION.given:
        say(case, {"Authorization": f"Bearer {SESSION.token()}"})
    if case.path_parameters and "id" in case.path_parameters:
        case.path_parameters = {"id": real("id", case.path_parameters["id"], path)}
    key = (case.headers or {}).get("Idempotency-Key")
    # The generator likes `0`, and a key that comes again is refused for that alone.
    if isinstance(key, str) and WELL_FORMED_KEY.fullmatch(key) and is_chosen(key):
        say(case, {"Idempotency-Key": str(uuid.uuid4())})
    if case.method == case.operation.method.upper():
        second_factor(case, path)
    if not isinstance(case.body, dict):
        return
    # A body may be an example of the document, and others come from that.
    case.body = {name: real(name, as_integer(value), path) for name, value in case.body.items()}
    # The two of these go together, or not at all.
    address, password = case.body.get("email"), case.body.get("password")
    if not isinstance(password, str) or len(password) > 1024 or not is_chosen(password):
        return
    if path == "/api/v1/auth/login":
        if isinstance(address, str) and re.fullmatch(r"[\w.+-]+@[\w.-]+\.[a-z]+", address):
            case.body.update(WHO)
    elif path == "/api/v1/auth/password/reset":
        case.body["password"] = f"quartz lagoon {uuid.uuid4()}"
    elif path in ("/api/v1/me/email", "/api/v1/me/factors/totp", "/api/v1/me/factors/passkeys"):
        case.body["password"] = WHO["password"]


@schemathesis.hook
def after_call(context, case, response):
    path = case.operation.path
    if path == "/api/v1/me/password" and response.status_code == 204:
        WHO["password"] = case.body["new_password"]
    if path == "/api/v1/me/password" or response.status_code == 401 or path == "/api/v1/auth/logout" or case.method == "DELETE":
        SESSION.over()


@schemathesis.check
def problem_type_conformance(ctx, response, case):
    """A problem is of a type that the document names for this operation and status."""
    if "application/problem+json" not in "".join(response.headers.get("content-type", [])):
        return
    said = case.operation.definition.raw["responses"].get(str(response.status_code))
    if said is None:
        return
    known = {
        example["value"]["type"]
        for content in said.get("content", {}).values()
        for example in content.get("examples", {}).values()
    }
    told = response.json()["type"]
    assert told in known, f"{told} is not among the documented {sorted(known)} of {response.status_code}"


# What every answer has, whatever was asked: HTTP's own, and policies/headers.yaml.
EVERYWHERE = re.compile(
    "connection|content-(length|type|security-policy)|date|vary|cache-control|traceresponse|strict-transport-security"
    "|x-(content-type-options|frame-options|permitted-cross-domain-policies|dns-prefetch-control)"
    "|referrer-policy|permissions-policy|cross-origin-(opener|embedder|resource)-policy"
)


@schemathesis.check
def header_conformance(ctx, response, case):
    """A header of an answer is one that the document names for this operation and status."""
    said = case.operation.definition.raw["responses"].get(str(response.status_code))
    if said is None:
        return
    known = {name.lower() for name in said.get("headers", {})}
    unknown = [name for name in response.headers if not EVERYWHERE.fullmatch(name.lower()) and name.lower() not in known]
    assert not unknown, f"{unknown} are not among the documented headers of {response.status_code}"
