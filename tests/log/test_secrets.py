"""Of the address of a server only scheme, host, port and database are ever shown."""

import pickle
import string
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.storage import Storage, open_log, reason_of, storage_of

SECRET = "h0nest"
SHOWN = "postgresql://server:99/studies"
ADDRESSES = [
    f"postgresql://me:{SECRET}@server:99/studies",
    f"postgresql://{SECRET}@server:99/studies",
    f"postgresql://server:99/studies?user=me&password={SECRET}",
    f"postgresql://server:99/studies?sslpassword={SECRET}&sslmode=require",
    f"postgresql://me:{SECRET}@server:99/studies?application_name={SECRET}",
]
AMBIGUOUS = [
    f"postgresql://me:p@{SECRET}@server:99/studies",
    f"postgresql://me:{SECRET}/@server:99/studies",
    f"postgresql://me:?{SECRET}@server:99/studies",
    f"postgresql://me:p@ss/{SECRET}@server:99/studies",
    f"postgresql://me@server:99/studies?password=p@{SECRET}",
    f"postgresql://server:99/studies?password=p@{SECRET}",
    f"postgresql://me:{SECRET}",
    f"postgresql://me:{SECRET}/studies",
    f"postgres://me:{SECRET}@server/studies",
    f"mysql://me:{SECRET}@server/studies",
    f"postgresql+psycopg://me:{SECRET}@server/studies",
    f"me:{SECRET}@server/studies",
]


def chain(error: BaseException) -> str:
    """All that a traceback would print."""
    others = [other for other in (error.__cause__, error.__context__) if other is not None]
    return " ".join([str(error), repr(error), *map(chain, others)])


@pytest.mark.parametrize("address", ADDRESSES)
def test_only_where_the_server_is_is_shown(address: str) -> None:
    storage = storage_of(Path(), address, "digits")
    assert str(storage) == storage.address == SHOWN
    assert SECRET not in repr(storage)


@pytest.mark.parametrize("address", AMBIGUOUS)
def test_an_address_that_could_mean_two_things_is_refused_without_a_word_of_it(
    address: str,
) -> None:
    with pytest.raises(InvalidInput, match=r"is no address of a log; give sqlite:.* %40") as raised:
        storage_of(Path(), address, "digits")
    assert SECRET not in chain(raised.value)


@given(
    st.text(string.printable + "ä漢", min_size=1),
    st.text(string.printable + "ä漢", min_size=1),
)
def test_any_user_and_password_reach_the_server(user: str, password: str) -> None:
    url = sa.URL.create("postgresql", user, password, "server", 99, "studies")
    storage = storage_of(Path(), url.render_as_string(hide_password=False), "digits")
    assert storage.server == url
    assert str(storage) == SHOWN
    assert pickle.loads(pickle.dumps(storage)) == storage


def test_what_the_query_says_of_the_server_is_shown() -> None:
    """libpq takes host, port and database from there, too: a socket's folder, above all."""
    address = "postgresql:///studies?host=/run/db&port=99&user=me&password=x"
    storage = storage_of(Path(), address, "digits")
    assert str(storage) == "postgresql:///studies?host=%2Frun%2Fdb&port=99"
    again = storage_of(Path(), str(storage), "digits").server
    assert again is not None
    assert again.query == {"host": "/run/db", "port": "99"}


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (
            f"cannot open postgresql://me:{SECRET}@server:99/studies now",
            f"cannot open {SHOWN} now",
        ),
        (f'password "{SECRET}" is wrong', 'password "***" is wrong'),
        ("port 99 failed: timed out after 9 s", "port 99 failed: timed out after *** s"),
        ("first line\nsecond line", "first line"),
        ("", "ValueError"),
    ],
)
def test_what_a_driver_says_is_told_without_secrets(message: str, shown: str) -> None:
    query = f"password={SECRET}&connect_timeout=9"
    storage = storage_of(Path(), f"postgresql://server:99/studies?{query}", "digits")
    error = RuntimeError("what SQLAlchemy makes of it")
    error.__cause__ = ValueError(message)
    assert reason_of(error, storage) == shown


def test_a_file_has_no_secrets() -> None:
    error = OSError("sqlite:///x cannot be read")
    assert reason_of(error, Storage("sqlite", "first", Path("x"))) == str(error)


def test_an_unreachable_server_is_a_clear_error() -> None:
    pytest.importorskip("psycopg")
    address = f"postgresql://me:{SECRET}@localhost:1/studies?connect_timeout=2&user=other"
    storage = storage_of(Path(), address, "digits")
    with pytest.raises(
        InvalidInput, match=r"localhost:1/studies .*read and written: .*refused"
    ) as (raised):
        open_log(storage, create=False)
    assert SECRET not in chain(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("option", [f"sslmode={SECRET}", f"pasword={SECRET}", "plugin=nothing"])
def test_an_option_that_the_driver_refuses_is_told_without_its_value(option: str) -> None:
    pytest.importorskip("psycopg")
    storage = storage_of(Path(), f"postgresql://localhost:1/studies?{option}", "digits")
    with pytest.raises(InvalidInput, match=r"localhost:1/studies is not the log") as raised:
        open_log(storage, create=False)
    assert SECRET not in str(raised.value)
    assert "\n" not in str(raised.value)
