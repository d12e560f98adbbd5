"""What the pages make of forms: good, bad and hostile ones, over a real log, names and mail."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.endpoint import Endpoint
from node.resolving import MAX_SOCKETS, Resolvers
from primary.changes import SetStatus
from primary.registering.proof_records import pointer_name
from primary.web.allowance import Effort
from primary.web.catalogue import MAX_SEEKS, MAX_SEEKS_A_CLIENT
from primary.web.edge import MAX_BODY_BYTES
from primary.web.site import moment
from primary.web.visit import HolderKey
from registry.address import Address
from registry.kinds import Kind, Status
from tests.support.bureau import Applicant, Bureau, open_bureau
from tests.support.internet import Internet, internet, text_of, token_in
from tests.support.web_pages import PLENTY, Pages, token_of

CONTACT = {
    "name": "Ann Example",
    "telephone": "+1 202 555 0123",
    "postal_address": "1 Example Street",
    "public_email": "on",
}
FORMS = [
    ("/register", "/register", ["address", "host", "domain", "email", *CONTACT, "instead_of"]),
    ("/manage", "/manage/key", ["key"]),
    ("/recover", "/recover", ["holder_id", "domain"]),
    ("/report", "/report", ["address", "text", "mailbox"]),
    ("/register", "/register/cancel", []),
    ("/register", "/register/saved", []),
    ("/register", "/manage/update", ["address", "host", "domain"]),
    ("/register", "/manage/withdraw", ["address"]),
    ("/register", "/manage/contact", ["email", *CONTACT]),
    ("/register", "/manage/end", []),
]
# Of what is wrong on purpose: ends of lines, controls, formulas, markup, international names.
HOSTILE = st.one_of(
    st.text(max_size=60),
    st.sampled_from(
        [
            "192.0.2.1\r\nBcc: all@example.net",
            "a@example.org\nBcc: all@example.net",
            "=cmd|' /C calc'!A0",
            "<script>alert(1)</script>",
            "' OR 1=1 --",
            "xn--80ak6aa92e.com",
            "\u0430\u0440\u0440\u04cf\u0435.com",
            "\u202eexample.org",
            "\x00",
            "a" * 5000,
            "::ffff:192.0.2.1",
            "../../etc/passwd",
            "{{ 7 * 7 }}",
        ]
    ),
)


@pytest.fixture(scope="module")
def net() -> Iterator[Internet]:
    """Names and mail."""
    with internet() as net:
        yield net


@pytest.fixture(scope="module")
def bureau(tmp_path_factory: pytest.TempPathFactory, net: Internet) -> Iterator[Bureau]:
    """A registry that asks for proofs; each test has holders and addresses of its own."""
    with open_bureau(tmp_path_factory.mktemp("bureau"), net) as bureau:
        yield bureau


@pytest.fixture
def pages(bureau: Bureau) -> Iterator[Pages]:
    """A new visitor."""
    pages = Pages(bureau)
    yield pages
    pages.close()


def apply(pages: Pages, person: Applicant, **fields: str) -> httpx.Response:
    """Sends the form of who registers."""
    form = {"address": person.address, "email": person.mailbox, **CONTACT, **fields}
    return pages.send("/register", "/register", **form)


def shown_key(response: httpx.Response) -> HolderKey:
    """The management key on a page."""
    text = response.text.partition('id="management-key">')[2].partition("<")[0]
    key = HolderKey.read(text)
    assert key is not None
    return key


def register(pages: Pages, person: Applicant) -> HolderKey:
    """All steps; the key, which the page has shown."""
    bureau = pages.bureau
    assert apply(pages, person).headers["location"] == "/register/checks"
    checks = pages.get("/register/checks")
    key = shown_key(checks)
    bureau.net.let_in(person.domain, key.holder_id)
    token = checks.text.partition("--token ")[2].split("<")[0]
    bureau.net.greet(person.address, f"ESMTP {token}")
    # The letter follows the other proofs.
    pages.get("/register/checks")
    bureau.run(bureau.post.send_due())
    letter = bureau.mailboxes.wait_letter(person.mailbox, "confirm")
    path = f"/confirm/{token_in(letter)}"
    assert pages.send(path, path).status_code == 200
    assert pages.get("/register/checks").headers["location"] == "/register/done"
    return key


def test_the_pages_ask_what_the_desk_asks(pages: Pages) -> None:
    """The key is shown until it is kept, and is a file of the command line's."""
    ann = pages.bureau.applicant()
    key = register(pages, ann)
    assert pages.bureau.registered(ann) is not None
    done = pages.get("/register/done")
    assert shown_key(done) == key
    file = pages.post("/key", {"form_token": token_of(done)})
    assert HolderKey.read(file.text) == key
    pages.send("/register/done", "/register/saved")
    assert key.management_key.hex() not in pages.get("/register/done").text
    assert pages.send("/manage", "/key").status_code == 404
    # Nor does the cookie tell it to who reads it.
    (cookie,) = pages.cookies
    assert key.management_key.hex() not in str(cookie.value)


def test_what_a_form_has_found_is_shown_and_not_looked_up_again(pages: Pages) -> None:
    """The page that it leads to shows just that, once; the next looks anew."""
    ann = pages.bureau.applicant()
    apply(pages, ann)
    pages.bureau.net.put(pointer_name(Address.parse(ann.address)), "PTR")
    held = [pages.get("/register/checks").text.count('<li class="held">') for _ in range(2)]

    assert held[1] == held[0] - 1


def test_a_registration_tells_when_it_was_verified(pages: Pages) -> None:
    """Its page has the date of the last look at which all held, and how often it is looked at."""
    ann, bureau = pages.bureau.applicant(), pages.bureau
    register(pages, ann)
    page = pages.get(f"/mail-servers/{ann.address}").text

    assert f"<dt>Last verified</dt><dd>{moment(bureau.now())}</dd>" in page
    assert "five moments of its first week" in page


def test_a_proof_is_that_of_the_log(pages: Pages) -> None:
    """Registered or not, each step holds; the file is what the command line reads."""
    ann = pages.bureau.applicant()
    register(pages, ann)
    pages.catch_up()

    for address in (ann.address, "192.0.2.77"):
        assert "The proof holds" in pages.get(f"/mail-servers/{address}/verify").text
        assert json.loads(pages.get(f"/mail-servers/{address}/proof").text)["address"] == address


def test_a_key_manages_its_own_alone(pages: Pages) -> None:
    """Another holder's address is not withdrawn; one's own is."""
    ann, bob = pages.bureau.applicant(), pages.bureau.applicant("bob")
    register(pages, ann)
    pages.forget()
    key = register(pages, bob)
    pages.forget()
    pages.send("/manage", "/manage/key", key=key.file().decode())
    refused = pages.send("/manage", "/manage/withdraw", address=ann.address)
    assert refused.status_code == 422
    assert pages.bureau.registered(ann) is not None
    table = pages.get("/manage/export.csv").text
    assert (bob.address in table, ann.address in table) == (True, False)
    pages.send("/manage", "/manage/withdraw", address=bob.address)
    assert pages.bureau.registered(bob) is None
    # Ends the holder too, and the browser forgets the key.
    pages.send("/manage", "/manage/end")
    assert pages.bureau.log.store.reader.get(Kind.HOLDER, key.holder_id) is None
    assert "Management key" in pages.get("/manage").text


def test_a_move_withdraws_the_former_address(pages: Pages) -> None:
    """Once the new one is registered, and not before."""
    ann, other = pages.bureau.applicant(), pages.bureau.applicant()
    register(pages, ann)
    pages.send("/register/done", "/register/saved")
    assert apply(pages, other, instead_of=ann.address).status_code == 303
    assert pages.bureau.registered(ann) is not None
    checks = pages.get("/register/checks")
    token = checks.text.partition("--token ")[2].split("<")[0]
    record = checks.text.partition("holder=")[2][:32]
    pages.bureau.net.let_in(other.domain, bytes.fromhex(record))
    pages.bureau.net.greet(other.address, f"ESMTP {token}")
    assert pages.get("/register/checks").status_code == 303

    assert pages.bureau.registered(other) is not None
    assert pages.bureau.registered(ann) is None


def test_only_ones_own_is_moved_away_from(pages: Pages) -> None:
    """Said at once, and not when all is shown; nothing is begun."""
    ann, bob = pages.bureau.applicant(), pages.bureau.applicant("bob")
    register(pages, ann)
    pages.forget()
    refused = apply(pages, bob, instead_of=ann.address)

    assert refused.status_code == 422
    assert "is not your mail server" in refused.text
    assert pages.get("/register/checks").headers["location"] == "/register"
    assert pages.bureau.registered(ann) is not None


def test_what_lapsed_is_renewed(pages: Pages) -> None:
    """Its button applies anew under the same names; shown again, it is registered again."""
    bureau = pages.bureau
    ann = bureau.applicant()
    key = register(pages, ann)
    first = bureau.registered(ann)
    assert first is not None
    lapse = SetStatus(key.holder_id, Address.parse(ann.address), Status.LAPSED, "no PTR record")
    bureau.run(bureau.intake.submit([lapse]))
    home = pages.get("/manage").text
    assert "Renew it" in home
    assert "lapsed" in home

    names = {"host": first.host, "domain": first.domain}
    renewed = pages.send("/manage", "/manage/update", address=ann.address, **names)
    assert renewed.headers["location"] == "/register/checks"
    token = pages.get("/register/checks").text.partition("--token ")[2].split("<")[0]
    bureau.net.greet(ann.address, f"ESMTP {token}")
    assert pages.get("/register/checks").headers["location"] == "/register/done"

    again = bureau.registered(ann)
    assert again is not None
    assert (again.status, again.registered_ms) == (Status.NEW, first.registered_ms)
    assert "Renew it" not in pages.get("/manage").text


def test_a_lost_key_is_recovered(pages: Pages) -> None:
    """By a record that names the new one, and the mailbox."""
    bureau = pages.bureau
    ann = bureau.applicant("rae")
    lost = register(pages, ann)
    pages.forget()
    pages.send("/recover", "/recover", holder_id=lost.holder_id.hex(), domain=ann.domain)
    checks = pages.get("/register/checks")
    new = shown_key(checks)
    record = checks.text.partition("TXT &#34;")[2].partition("&#34;")[0]
    bureau.net.put(f"_smtpnic.{ann.domain}", "TXT", f'"{record}"')
    pages.get("/register/checks")
    bureau.run(bureau.post.send_due())
    letter = bureau.mailboxes.wait_letter(ann.mailbox, "another management key")
    path = f"/confirm/{token_in(letter)}"
    pages.send(path, path)
    assert pages.get("/register/checks").headers["location"] == "/register/done"
    pages.forget()
    assert pages.send("/manage", "/manage/key", key=new.text()).status_code == 303
    pages.forget()
    assert pages.send("/manage", "/manage/key", key=lost.text()).status_code == 422


def test_complaints_have_limits(pages: Pages) -> None:
    """One client, one holder: then no more letters."""
    ann = pages.bureau.applicant("abe")
    register(pages, ann)
    codes = [
        pages.send("/report", "/report", address=ann.address, text="spam").status_code
        for _ in range(4)
    ]
    pages.bureau.run(pages.bureau.post.send_due())

    assert codes == [200, 200, 200, 422]
    letters = [one for one in pages.bureau.mailboxes.to(ann.mailbox) if "complaint" in text_of(one)]
    assert len(letters) == 3


@pytest.mark.parametrize(("page", "path", "names"), FORMS)
def test_bad_input_is_refused_and_nothing_is_stored(
    bureau: Bureau, page: str, path: str, names: list[str]
) -> None:
    """Whatever stands in the fields: a page that says so, no fault, no entry, no letter."""
    pages = Pages(bureau)
    bureau.run(bureau.post.send_due())
    size = bureau.log.sequencer.head.size
    letters = len(bureau.mailboxes.letters)

    @settings(
        max_examples=60,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(st.fixed_dictionaries({}, optional=dict.fromkeys(names, HOSTILE)))
    def refused(fields: dict[str, str]) -> None:
        fields = {name: text.encode("utf-8", "ignore").decode() for name, text in fields.items()}
        response = pages.send(page, path, **fields)
        assert response.status_code in (303, 403, 404, 413, 422), (fields, response.text)
        assert "<script>alert" not in response.text

    refused()
    pages.close()
    bureau.run(bureau.post.send_due())
    assert bureau.log.sequencer.head.size == size
    assert len(bureau.mailboxes.letters) == letters


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=80))
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_question_has_a_page(pages: Pages, asked: str) -> None:
    """Look-ups and paths of any kind: an answer for people, and never a fault."""
    assert pages.get("/lookup", params={"q": asked}).status_code in (200, 303, 422)
    assert pages.get(f"/mail-servers/{httpx.QueryParams({'': asked})}").status_code in (303, 404)


def test_forms_of_others_are_refused(pages: Pages) -> None:
    """Without the token, with another visitor's, from another site, or not as a form."""
    token = token_of(pages.get("/report"))
    pages.forget()
    pages.get("/report")
    form = {"address": "192.0.2.1", "text": "x"}
    assert pages.post("/report", form).status_code == 403
    assert pages.post("/report", {**form, "form_token": token}).status_code == 403
    good = {**form, "form_token": token_of(pages.get("/report"))}
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert pages.post("/report", good, headers=headers).status_code == 403
    plain = {"Content-Type": "text/plain"}
    assert pages.request("POST", "/report", content="a=b", headers=plain).status_code == 415
    # The very form, sent as it should be, is looked at: nobody registered the address.
    assert pages.post("/report", good).status_code == 422


def test_what_is_too_large_or_malformed_is_refused(pages: Pages) -> None:
    """By its announced length, by what comes without one, by too many fields, by its method."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    large = b"text=" + b"a" * MAX_BODY_BYTES
    assert pages.request("POST", "/report", content=large, headers=form).status_code == 413

    async def trickle() -> object:
        for _ in range(40):
            yield b"a" * 1024

    pages.get("/report")
    unannounced = pages.request("POST", "/report", content=trickle(), headers=form)
    assert unannounced.status_code == 413
    many = "&".join(f"f{number}=x" for number in range(200))
    assert pages.request("POST", "/report", content=many, headers=form).status_code == 400
    for method in ("PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"):
        assert pages.request(method, "/").status_code == 405
    broken = {"Content-Length": "x"}
    assert pages.request("POST", "/report", headers=broken).status_code == 413


def test_who_asks_too_much_waits(bureau: Bureau) -> None:
    """A clear answer, with when to come again; reading goes on."""
    pages = Pages(bureau, PLENTY | {Effort.CHANGE: 2})
    token = token_of(pages.get("/report"))
    form = {"form_token": token, "address": "192.0.2.1", "text": "x"}
    codes = [pages.post("/report", form).status_code for _ in range(3)]
    last = pages.post("/report", form)

    assert codes[-1] == 429
    assert int(last.headers["retry-after"]) > 0
    assert pages.get("/").status_code == 200
    pages.close()


def test_a_client_searches_only_so_much_at_once(bureau: Bureau) -> None:
    """Beyond its share 429 says when to come again, and others search; a /64 is one client."""
    with socket.socket(type=socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        servers = [Endpoint(*silent.getsockname())] * 3
        pages = Pages(bureau, resolvers=Resolvers(servers, seconds=0.3))
        greedy = [f"2001:db8::{at:x}" for at in range(MAX_SEEKS)]
        others = ["2001:db8:0:1::1", "192.0.2.1"]
        answers = pages.get_together("/lookup?q=example.org", [*greedy, *others])
        codes = [answer.status_code for answer in answers]

        assert [200] * MAX_SEEKS_A_CLIENT == [code for code in codes[:MAX_SEEKS] if code != 429]
        assert [200, 200] == codes[MAX_SEEKS:]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert all(int(answer.headers["retry-after"]) > 0 for answer in refused)
        # Its share is free again.
        again = pages.get_together("/lookup?q=example.org", greedy[:MAX_SEEKS_A_CLIENT])
        assert {200} == {answer.status_code for answer in again}
        pages.close()


def test_a_search_leaves_resolvers_to_who_registers(bureau: Bureau) -> None:
    """Beyond so many searches 503 says when to come again; who waits gets what is known."""
    with socket.socket(type=socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        servers = [Endpoint(*silent.getsockname())] * 3
        pages = Pages(bureau, resolvers=Resolvers(servers, seconds=0.3))
        clients = [f"192.0.2.{at % 5}" for at in range(MAX_SEEKS + 4)]
        answers = pages.get_together("/lookup?q=example.org", clients)
        refused = [answer for answer in answers if answer.status_code == 503]
        asked = set()
        silent.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                asked.add(silent.recvfrom(512)[1])

        assert len(refused) == 4
        assert all(int(answer.headers["retry-after"]) > 0 for answer in refused)
        assert {answer.status_code for answer in answers} == {200, 503}
        # A socket for each query, of which there were three and then six at once.
        assert 0 < len(asked) <= MAX_SEEKS * 9
        assert MAX_SEEKS * 6 < MAX_SOCKETS / 2
        # The room is free again.
        assert pages.get("/lookup?q=example.org").status_code == 200
        pages.close()


def test_every_answer_has_the_headers(pages: Pages) -> None:
    """Pages, errors and refusals alike: a strict policy, no cache, TLS remembered."""
    for path in ("/", "/nowhere", "/mail-servers/x", "/static/style.css", "/register"):
        headers = pages.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["strict-transport-security"].startswith("max-age=")
    assert pages.get("/register").headers["cache-control"] == "no-store"
    assert pages.get("/", headers={"Host": "evil.example"}).status_code == 421
    assert pages.get("/").headers.get("set-cookie") is None
    cookie = pages.get("/register").headers["set-cookie"]
    for word in ("__Host-smtpnic=", "HttpOnly", "Secure", "SameSite=lax", "Path=/"):
        assert word in cookie
