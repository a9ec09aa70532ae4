"""A mail server for the tests, on aiosmtpd: keeps what it takes, and does to some recipients what mail servers do.

usage: server.py DIRECTORY PORT clear|starttls|implicit [CERTIFICATE KEY]

Prints its port. Each recipient becomes a line of DIRECTORY/recipients, and each mail it has read a line of JSON in
DIRECTORY/mails. While there is a file DIRECTORY/closed, whoever greets it is sent away with 554. The local part of a
recipient says what happens:

    later2.x  refused with 451 twice
    never.x   refused with 550 always
    deaf.x    no answer to the recipient, the first time
    slow.x    no answer to the mail, which it has read, the first time
    lost.x    the connection ends instead of the answer to the mail, which it has read, the first time
    mute.x    no answer to the goodbye
"""

import asyncio
import json
import pathlib
import re
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

directory, port, protection = pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
seen, refused = set(), {}


def is_first(recipient):
    is_new = recipient not in seen
    seen.add(recipient)
    return is_new


def note(file, line):
    with open(directory / file, "a", encoding="ascii") as lines:
        lines.write(line + "\n")


async def hang():
    await asyncio.get_running_loop().create_future()


class Mailboxes:
    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        session.host_name = hostname
        return ["554 5.3.2 no mail from here today"] if (directory / "closed").exists() else responses

    async def handle_RCPT(self, server, session, envelope, address, options):
        note("recipients", address)
        if address.startswith("never."):
            return f"550 5.1.1 {address} is not here"
        later = re.match(r"later(\d)\.", address)
        if later and refused.get(address, 0) < int(later[1]):
            refused[address] = refused.get(address, 0) + 1
            return "451 4.7.1 come back later"
        if address.startswith("deaf.") and is_first(address):
            await hang()
        session.is_mute = address.startswith("mute.")
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        mail = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "greeted_by": session.host_name,
            "is_encrypted": session.ssl is not None or protection == "implicit",
            "is_logged_in": bool(session.authenticated),
            "content": envelope.content.decode("ascii"),
        }
        note("mails", json.dumps(mail))
        recipient = envelope.rcpt_tos[0]
        if recipient.startswith("slow.") and is_first(recipient):
            await hang()
        if recipient.startswith("lost.") and is_first(recipient):
            server.transport.abort()
        return "250 taken"

    async def handle_QUIT(self, server, session, envelope):
        if getattr(session, "is_mute", False):
            await hang()
        return "221 goodbye"


def authenticate(server, session, envelope, mechanism, data):
    is_right = (data.login, data.password) == (b"bank", b"a secret of the tests")
    return AuthResult(success=is_right, handled=is_right)  # not handled: the library answers 535


def connection():
    return SMTP(
        Mailboxes(),
        hostname="mail.test",
        tls_context=context if protection == "starttls" else None,
        require_starttls=protection == "starttls",
        authenticator=authenticate,
        auth_require_tls=protection == "starttls",
    )


async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        connection, "127.0.0.1", port, ssl=context if protection == "implicit" else None
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


context = None
if protection != "clear":
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[4], sys.argv[5])
asyncio.run(main())
