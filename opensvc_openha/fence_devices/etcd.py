"""Ask an etcd (3.4 or newer) through its JSON gateway, each time within a limit.

Any member may be asked. The one that answered last is asked first, and each that does not answer
leaves its share of the time to the others. So a transaction may be sent twice, and one that was
given up may take effect later: whoever writes adds conditions that make both harmless.

Every read is linearizable: without a majority of the members there is no answer.
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Callable, Sequence

from opensvc_openha.errors import SystemFault
from opensvc_openha.fence_devices.device_answers import masked
from opensvc_openha.fence_devices.etcd_connection import EtcdConnection
from opensvc_openha.fence_devices.secret_files import check_secret_file, read_secret
from opensvc_openha.formats.etcd_messages import (
    Body,
    EtcdError,
    TransactionEnd,
    read_error,
    read_token,
    read_transaction,
    transaction,
)
from opensvc_openha.formats.lease_config import EtcdConfig
from opensvc_openha.hints import Protocol, TypeVar
from opensvc_openha.system.clock import monotonic

_TEXT_MAX = 160
_SHARE_MIN_S = 0.02
_TRANSACTION, _LOGIN = "/v3/kv/txn", "/v3/auth/authenticate"
_DENIED, _FULL, _LOGGED_OUT = 7, 8, 16
"""Statuses of gRPC."""
_Answer = TypeVar("_Answer")


class EtcdFault(SystemFault):
    """The witness gave no answer, or a refusal.

    What was to be written may have been written, or be written later.
    """


class Store(Protocol):
    """What carries out transactions: see ``EtcdClient``."""

    @property
    def name(self) -> str:
        """How it is named in messages."""

    def transact(
        self, conditions: Sequence[Body], then: Sequence[Body], otherwise: Sequence[Body] = ()
    ) -> TransactionEnd:
        """Carry one out; EtcdFault if its end is not known."""

    def close(self) -> None:
        """Release the connection."""


class _NoAnswer(Exception):
    """This member gave no usable answer: another one may."""


class _Refusal(Exception):
    """An answer that any other member would give as well."""

    def __init__(self, url: str, status: int, error: EtcdError) -> None:
        super().__init__(error.text)
        self.url, self.status, self.error = url, status, error

    @property
    def is_login_stale(self) -> bool:
        """True if a new login helps: it expired, or the users have changed."""
        text = self.error.text
        return self.error.code == _LOGGED_OUT or "revision of auth store is old" in text


class EtcdClient:
    """The members of one etcd; for one thread at a time. Connects when it is asked first."""

    def __init__(self, options: EtcdConfig, now: Callable[[], float] = monotonic) -> None:
        self._options = options
        self._now = now
        self._members = [EtcdConnection(url, self._context, now) for url in options.urls]
        """The one that answered last comes first."""
        self._token = ""
        self._secrets: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """How it is named in messages."""
        return self._options.address

    def close(self) -> None:
        """Release the connections."""
        for member in self._members:
            member.close()

    def transact(
        self, conditions: Sequence[Body], then: Sequence[Body], otherwise: Sequence[Body] = ()
    ) -> TransactionEnd:
        """Carry out a transaction. EtcdFault if its end is not known within the limit."""
        body = transaction(conditions, then, otherwise)
        deadline = self._now() + self._options.limit_s
        try:
            return self._transact(body, deadline)
        except _Refusal as refusal:
            raise EtcdFault(self._why_refused(refusal)) from None

    def _transact(self, body: Body, deadline: float) -> TransactionEnd:
        if not self._options.username:
            return self._ask(_TRANSACTION, body, read_transaction, deadline)
        if self._token:
            try:
                return self._ask(_TRANSACTION, body, read_transaction, deadline)
            except _Refusal as refusal:
                if not refusal.is_login_stale:
                    raise
        self._log_in(deadline)
        return self._ask(_TRANSACTION, body, read_transaction, deadline)

    def _log_in(self, deadline: float) -> None:
        self._token = ""
        password = read_secret(self._options.password_file)
        self._secrets = (password,)
        body = {"name": self._options.username, "password": password}
        self._token = self._ask(_LOGIN, body, read_token, deadline)
        self._secrets = (password, self._token)

    # --- members ----------------------------------------------------------------------------------

    def _ask(
        self, path: str, body: Body, read: Callable[[object], _Answer], deadline: float
    ) -> _Answer:
        """Ask the members in turn; _Refusal for an answer that all would give."""
        problems = []
        for number, member in enumerate(tuple(self._members)):
            began = self._now()
            share_s = (deadline - began) / (len(self._members) - number)
            if share_s < _SHARE_MIN_S:
                problems.append(f"{member.url}: not asked, since no time was left")
                continue
            try:
                answer = read(self._ask_member(member, path, body, began + share_s))
            except TimeoutError:
                problems.append(f"{member.url}: no answer in {self._now() - began:.2g} s")
            except (_NoAnswer, ValueError, OSError, http.client.HTTPException) as error:
                problems.append(f"{member.url}: {self._described(error)}")
            else:
                self._members.remove(member)
                self._members.insert(0, member)
                return answer
        raise EtcdFault(f"no answer from the witness: {'; '.join(problems)}")

    def _ask_member(self, member: EtcdConnection, path: str, body: Body, deadline: float) -> object:
        status, raw = member.post(path, body, self._token, deadline)
        try:
            values = json.loads(raw)
        except (ValueError, RecursionError):
            values = None
        if status == http.client.OK:
            return values
        error = read_error(values)
        if values is None:
            error = EtcdError(None, raw[:_TEXT_MAX].decode("utf-8", "replace").strip())
        if status >= http.client.INTERNAL_SERVER_ERROR:
            raise _NoAnswer(error.text or f"HTTP status {status}")
        raise _Refusal(member.url, status, error)

    def _context(self) -> ssl.SSLContext:
        """Return how members are recognized, and how this node is; SystemFault for a bad file."""
        options = self._options
        if options.key_file:
            check_secret_file(options.key_file)
        which = options.ca_file
        try:
            context = ssl.create_default_context(cafile=options.ca_file or None)
            which = options.cert_file
            if options.cert_file:
                context.load_cert_chain(options.cert_file, options.key_file)
        except OSError as error:
            why = error.strerror or str(error)
            raise EtcdFault(f"the certificate {which} cannot be used: {why}") from None
        return context

    # --- messages ---------------------------------------------------------------------------------

    def _described(self, error: Exception) -> str:
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted: {error.verify_message}: see ca_file"
        if isinstance(error, ssl.SSLError):
            return f"no TLS with it: {self._clean(error.reason or str(error))}"
        if isinstance(error, OSError) and error.strerror:
            return error.strerror.lower()
        if isinstance(error, ValueError):
            return "what answers there is no etcd, or one that is older than 3.4"
        return self._clean(str(error)) or type(error).__name__

    def _why_refused(self, refusal: _Refusal) -> str:
        user, text = self._options.username, self._clean(refusal.error.text)
        return f"{refusal.url}: {self._advice(refusal, user, text)}"

    def _advice(self, refusal: _Refusal, user: str, text: str) -> str:
        code = refusal.error.code
        if "authentication failed" in text:
            return f"it refuses the login of {user}: correct username or password_file"
        if "authentication is not enabled" in text:
            return "it has no authentication: remove username and password_file"
        if not user and (code == _DENIED or "user name is empty" in text):
            return "it wants a login: write username and password_file"
        if "CommonName" in text:
            return "with a login it wants a cert_file without a common name (CN) in its subject"
        if code == _DENIED:
            return (
                f"user {user} may not read and write {self._options.prefix}/: etcdctl role"
                f" grant-permission ROLE readwrite --prefix=true {self._options.prefix}/"
            )
        if code == _FULL and "space" in text:
            return f"its database is full: {text}: etcdctl compact, defrag, alarm disarm"
        if refusal.status == http.client.NOT_FOUND:
            return "what answers there is no etcd, or one that is older than 3.4"
        return f"it refuses: {text or f'HTTP status {refusal.status}'}"

    def _clean(self, text: str) -> str:
        return masked(text, self._secrets)[:_TEXT_MAX]
