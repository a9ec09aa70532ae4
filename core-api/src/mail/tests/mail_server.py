"""A mail server for the tests, on aiosmtpd: keeps what it takes, and does to some recipients what mail servers do.

usage: mail_server.py DIRECTORY PORT clear|starttls|implicit [CERTIFICATE KEY]

Prints its port. Each mail it has read becomes a line of JSON in DIRECTORY/mails. The local part of a recipient says what
happens: `later2.x` is refused with 451 twice, `never.x` with 550 always; `slow.x` gets no answer to the mail, and
`lost.x` gets none the first time although it was taken.
"""

import asyncio
import json
import pathlib
import re
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

directory, port, protection = pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
refused, lost = {}, set()


class Mailboxes:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("never."):
            return f"550 5.1.1 {address} is not here"
        later = re.match(r"later(\d)\.", address)
        if later and refused.get(address, 0) < int(later[1]):
            refused[address] = refused.get(address, 0) + 1
            return "451 4.7.1 come back later"
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
        with open(directory / "mails", "a", encoding="ascii") as mails:
            mails.write(json.dumps(mail) + "\n")
        recipient = envelope.rcpt_tos[0]
        if recipient.startswith("slow."):
            await asyncio.sleep(3600)
        if recipient.startswith("lost.") and recipient not in lost:
            lost.add(recipient)
            server.transport.abort()
        return "250 taken"


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
