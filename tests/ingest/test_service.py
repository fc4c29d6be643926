"""The service over HTTP, on invented units; `test_parity` asks it on both targets."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import threading
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pytest
from pmtiles.tile import Compression, TileType, zxy_to_tileid
from pmtiles.writer import Writer
from starlette.testclient import TestClient

from admin_boundaries.duckdb_spatial import load_spatial
from admin_boundaries.locate import COLUMNS
from admin_boundaries.locate.index import Index
from admin_boundaries.service import answers, features
from admin_boundaries.service import marts as service_marts
from admin_boundaries.service.marts import Asked
from admin_boundaries.warehouse import open_warehouse
from ingest import catalog
from ingest.dashboard import explorer
from ingest.errors import QueryFailed, QuestionTooLong, UsageError
from ingest.service import app as served_app
from ingest.service import http
from ingest.service.problems import MAX_BODY_BYTES
from ingest.settings import Settings, read_settings
from tests.fixtures import marts as built
from tests.fixtures import served
from tests.ingest.test_locate import MARTS

LEVEL = "/collections/admin_level_1/items"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """An embedded target with invented units, current; tests change copies of it."""
    home = tmp_path_factory.mktemp("served")
    return served.write(read_settings({"WAREHOUSE_TARGET": "embedded", "WAREHOUSE_HOME": str(home)}))


@pytest.fixture(scope="module")
def client(shared: Settings) -> TestClient:
    """A client of the service."""
    return served.client(shared)


@pytest.fixture
def warehouse(shared: Settings, tmp_path: Path) -> Settings:
    """A copy of it, to be changed."""
    shutil.copytree(shared.home, tmp_path / "copy")
    return replace(shared, home=tmp_path / "copy")


def keys(answer: Any) -> list[str]:
    return [feature["id"] for feature in answer.json()["features"]]


def test_every_answer_says_which_build_and_releases_it_is_of_and_what_may_be_done_with_it(client: TestClient) -> None:
    answer = client.get("/locate", params={"lon": 1, "lat": 2})
    assert answer.status_code == 200
    assert answer.headers["Marts-Build"] == built.BUILD_ID == answer.json()["about"]["build"]
    assert answer.headers["Marts-Release"] == "gadm 4.0, timezones 2026a"
    assert answer.headers["Marts-Stale"] == "false"
    assert answer.headers["Link"] == '<http://testserver/licence>; rel="license"'
    assert answer.headers["Last-Modified"] == "Wed, 25 Nov 2026 08:30:00 GMT"
    assert "Office of Maps" in answer.json()["about"]["attribution"]
    licences = client.get("/licence").json()["licences"]
    assert {"Open licence"} <= {each["licence"] for each in licences}
    assert any(each.get("time_zones") == 2 for each in licences)


def test_an_answer_of_marts_that_are_stale_says_so(warehouse: Settings) -> None:
    client = served.client(warehouse)
    tag = {"If-None-Match": client.get("/find", params={"q": "land"}).headers["ETag"]}
    built.publish(warehouse.home, {**served.RUNS, "gadm": ("run-b", "4.1")})
    answer = client.get("/find", params={"q": "land"}, headers=tag)
    assert answer.status_code == 200
    assert answer.headers["Marts-Stale"] == "true"
    assert "run-b" in answer.json()["about"]["stale"][0]


def test_the_next_request_is_answered_by_a_build_that_was_published_meanwhile(
    warehouse: Settings, tmp_path: Path
) -> None:
    client = served.client(warehouse)
    first = client.get(LEVEL)
    tag = {"If-None-Match": first.headers["ETag"]}
    assert client.get(LEVEL, headers=tag).status_code == 304
    other = replace(warehouse, home=shutil.copytree(warehouse.home, tmp_path / "other"))
    served.add_level(other, 2)
    with duckdb.connect(str(built.path_of(other.home))) as connection:
        connection.execute("update marts.marts_meta set build_id = 'b'")
    os.replace(built.path_of(other.home), built.path_of(warehouse.home))  # noqa: PTH105  as a build does
    second = client.get(LEVEL, headers=tag)
    assert second.status_code == 200
    assert second.headers["Marts-Build"] == "b"
    assert (first.json()["numberMatched"], second.json()["numberMatched"]) == (7, 2)


def test_a_question_that_began_before_goes_on_reading_the_build_that_it_began_with(
    warehouse: Settings, tmp_path: Path
) -> None:
    marts = served.marts_of(warehouse)
    count = "select count(*) from marts.admin_level_1"
    other = replace(warehouse, home=shutil.copytree(warehouse.home, tmp_path / "other"))
    served.add_level(other, 2)

    def ask_on(asked: Asked) -> tuple[Any, Any, Any]:
        before = asked.warehouse.rows(count)
        os.replace(built.path_of(other.home), built.path_of(warehouse.home))  # noqa: PTH105
        return before, marts.ask(lambda newer: newer.warehouse.rows(count)), asked.warehouse.rows(count)

    assert marts.ask(ask_on) == ([(7,)], [(2,)], [(7,)])
    marts.close()


def test_without_marts_the_answer_says_how_to_build_them(settings: Settings) -> None:
    answer = served.client(settings).get("/find", params={"q": "a"})
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert "python -m ingest" in answer.json()["hint"]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/locate?lon=181&lat=0", "query.lon"),
        ("/locate?lon=1", "query.lat"),
        ("/locate?lon=nan&lat=0", "query.lon"),
        ("/locate?lon=1&lat=1&at=noon", "not a time"),
        ("/locate?lon=1&lat=1&nearest=600km", "not a distance"),
        ("/find?q=a&limit=1000", "query.limit"),
        ("/find?q=a%00", "query.q"),
        ("/find?q=a&country=XXX", "no country 'XXX'"),
        ("/find?name=a", "query.name"),
        (f"{LEVEL}?bbox=1,2,3", "query.bbox"),
        (f"{LEVEL}?bbox=1,9,3,4", "no box on Earth"),
        (f"{LEVEL}?limit=0", "query.limit"),
        (f"{LEVEL}?colour=red", "query.colour: There is no such parameter"),
        (f"{LEVEL}?hasc_code=x", "cannot be chosen by 'hasc_code'"),
        (f"{LEVEL}?datetime=yesterday", "query.datetime"),
        ("/collections/timezones/items?geometry=simplified", "no simplified shapes"),
        ("/units/", "path.gid"),
        ("/conformance?x=1", "query.x"),
        ("/tiles/0/x/0.mvt", "path.x"),
    ],
)
def test_a_question_that_is_wrong_is_refused_with_what_is_wrong(client: TestClient, path: str, said: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    told = answer.json()
    assert (told["status"], told["title"]) == (400, "Bad Request")
    assert said in told["detail"]
    assert told["hint"]


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/units/ZZZ", "/collections/admin_level_9", f"{LEVEL}/ZZZ", "/tiles/0/0/0.mvt", "/tiles.json"],
)
def test_what_is_not_there_is_not_found(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


@pytest.mark.parametrize(
    "path", ["/", "/docs", "/alive", "/licence", "/locate?lon=1&lat=2", "/units/AAA", LEVEL, "/api", "/units/ZZZ"]
)
def test_head_is_answered_as_get_is_but_for_the_body(client: TestClient, path: str) -> None:
    told, asked = client.get(path), client.head(path)
    assert (asked.status_code, asked.content) == (told.status_code, b"")
    assert asked.headers == told.headers
    known = {"If-None-Match": told.headers.get("ETag", "")}
    assert client.head(path, headers=known).status_code == client.get(path, headers=known).status_code


def test_nothing_can_be_changed(client: TestClient) -> None:
    for method in ("PUT", "DELETE", "PATCH", "POST"):
        assert client.request(method, LEVEL).status_code == 405


def test_many_points_are_answered_in_their_order_and_not_too_many(client: TestClient) -> None:
    answer = client.post("/locate", json={"points": [[1, 2], [3, 4]]})
    assert [each["status"] for each in answer.json()["answers"]] == ["no unit", "no unit"]
    assert client.post("/locate", json={"points": [[1, 2]] * 10_001}).status_code == 400
    assert client.post("/locate", json={"points": [[1, None]]}).status_code == 400
    assert client.post("/locate", content=b"[", headers={"content-type": "application/json"}).status_code == 400


def test_a_body_that_is_too_large_is_refused_whether_or_not_it_says_so(client: TestClient) -> None:
    parts = [b" " * 1000] * (MAX_BODY_BYTES // 1000 + 1)
    headers = {"content-type": "application/json"}
    for content in (b"".join(parts), iter(parts)):
        answer = client.post("/locate", content=content, headers=headers)
        assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")


def test_pages_follow_one_another_until_every_feature_was_given_once(client: TestClient) -> None:
    found, where = [], f"{LEVEL}?limit=3"
    pages = 0
    while where:
        answer = client.get(where)
        assert answer.headers["content-type"] == "application/geo+json"
        told = answer.json()
        assert (told["numberReturned"], told["numberMatched"]) == (len(told["features"]), 7)
        found += keys(answer)
        where = next((link["href"] for link in told["links"] if link["rel"] == "next"), "")
        pages += 1
    assert found == [f"AAA.{number}_1" for number in range(1, 8)]
    assert pages == 3


def test_a_page_ends_early_when_its_shapes_are_large(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "MOST_VERTICES", 12)  # a square has five
    assert len(keys(client.get(LEVEL))) == 2
    assert len(keys(client.get(f"{LEVEL}?geometry=none"))) == 7
    monkeypatch.setattr(features, "MOST_VERTICES", 1)
    assert len(keys(client.get(LEVEL))) == 1


def test_no_page_has_more_features_than_the_most(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "MOST_FEATURES", 2)
    assert len(keys(client.get(f"{LEVEL}?limit=99999999999999999999999"))) == 2


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("bbox=2.5,40.5,3.5,40.6", ["AAA.3_1", "AAA.4_1"]),
        ("bbox=6.9,0,-170,89", ["AAA.7_1"]),
        ("bbox=2.5,40.5,-9,3.5,40.6,9", ["AAA.3_1", "AAA.4_1"]),
        ("bbox=20,0,30,10", []),
        ("name=%C3%9Cnit%204", ["AAA.5_1"]),
        ("gid_0=AAA&bbox=0.1,40.1,0.2,40.2", ["AAA.1_1"]),
        ("gid_0=BBB", []),
        ("datetime=2026-01-01T00:00:00Z/..&name=%C3%9Cnit%204", ["AAA.5_1"]),
    ],
)
def test_features_are_chosen_by_box_and_by_column(client: TestClient, query: str, found: list[str]) -> None:
    answer = client.get(f"{LEVEL}?{query}")
    assert keys(answer) == found
    assert ("numberMatched" in answer.json()) == ("bbox" not in query)


def test_a_box_is_compared_with_shapes_and_not_with_their_boxes(warehouse: Settings) -> None:
    with duckdb.connect(str(built.path_of(warehouse.home))) as connection:
        from admin_boundaries.duckdb_spatial import load_spatial

        load_spatial(connection)
        ring = "POLYGON((0 40, 1 40, 0 41, 0 40))"
        connection.execute(
            f"update marts.admin_level_1 set geom = ST_Multi(ST_GeomFromText('{ring}')) where gid = 'AAA.1_1'"
        )
    client = served.client(warehouse)
    assert keys(client.get(f"{LEVEL}?bbox=0.8,40.8,0.9,40.9")) == []
    assert keys(client.get(f"{LEVEL}?bbox=0.1,40.1,0.2,40.2")) == ["AAA.1_1"]


def test_the_landing_page_leads_to_what_the_standard_asks_for(client: TestClient) -> None:
    links = {link["rel"]: link["href"] for link in client.get("/").json()["links"]}
    assert {"self", "service-desc", "service-doc", "conformance", "data", "license"} <= links.keys()
    for rel in ("service-desc", "service-doc", "conformance", "data", "license"):
        assert client.get(links[rel]).status_code == 200
    conforms = client.get(links["conformance"]).json()["conformsTo"]
    assert "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core" in conforms
    listed = client.get(links["data"]).json()["collections"]
    assert [each["id"] for each in listed] == [*features.LEVELS, "timezones"]
    level = listed[1]
    assert level["extent"]["spatial"]["bbox"] == [[0.0, 40.0, 7.0, 41.0]]
    assert level["crs"] == [served_app.CRS84]
    assert "extent" not in listed[2]
    (items,) = [link["href"] for link in level["links"] if link["rel"] == "items"]
    feature = client.get(items).json()["features"][0]
    answer = client.get(f"{items}/{feature['id']}")
    assert answer.json()["geometry"] == feature["geometry"]
    assert answer.json()["properties"] == feature["properties"]
    assert {link["rel"] for link in answer.json()["links"]} == {"self", "collection"}


def test_a_shape_is_drawn_counterclockwise(client: TestClient) -> None:
    ((ring,),) = client.get(f"{LEVEL}/AAA.1_1").json()["geometry"]["coordinates"]
    area = sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairwise(ring))
    assert area > 0


def test_a_key_with_a_slash_is_found(client: TestClient) -> None:
    for key in ("Etc/East", "Etc%2FEast"):
        assert client.get(f"/collections/timezones/items/{key}").json()["id"] == "Etc/East"


def test_a_unit_comes_with_its_chain_and_the_shape_that_was_asked_for(client: TestClient) -> None:
    told = client.get("/units/AAA.2_1").json()
    assert told["geometry"] is None
    assert [each["gid"] for each in told["properties"]["chain"]] == ["AAA", "AAA.2_1"]
    for shape in ("full", "simplified"):
        assert client.get(f"/units/AAA.2_1?geometry={shape}").json()["geometry"]["type"] == "MultiPolygon"


def test_people_get_a_page_and_programs_get_json(client: TestClient) -> None:
    page = client.get("/", headers={"Accept": "text/html,*/*"})
    assert page.headers["content-type"].startswith("text/html")
    assert "Office of Maps" in page.text
    assert client.get("/?f=json", headers={"Accept": "text/html"}).json()["dataset"] == "gadm"


def test_the_pages_load_nothing_from_elsewhere(client: TestClient) -> None:
    for path in ("/docs", "/?f=html"):
        loaded = re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=\"([^\"]*)", client.get(path).text)
        assert loaded
        assert all(each.startswith(("files/", "data:")) for each in loaded)
        assert "default-src 'none'" in client.get(path).headers["Content-Security-Policy"]
    for file in served_app.files():
        assert client.get(f"/files/{file.name}").status_code == 200


def test_only_requests_to_names_of_this_server_are_answered(client: TestClient) -> None:
    assert client.get("/conformance", headers={"Host": "elsewhere.example"}).status_code == 400


def test_pages_of_other_sites_read_answers_only_where_they_were_let(shared: Settings, client: TestClient) -> None:
    asked = {"Origin": "https://maps.example"}
    assert "access-control-allow-origin" not in client.get(LEVEL, headers=asked).headers
    let = served.client(shared, origins=("https://maps.example",))
    assert let.get(LEVEL, headers=asked).headers["access-control-allow-origin"] == "https://maps.example"
    preflight = {**asked, "Access-Control-Request-Method": "POST"}
    assert let.options("/locate", headers=preflight).status_code == 400


def test_behind_a_proxy_links_begin_with_its_address(shared: Settings) -> None:
    client = served.client(shared, url="https://maps.example/units/")
    hrefs = [link["href"] for link in client.get(f"{LEVEL}?limit=1").json()["links"]]
    assert all(href.startswith("https://maps.example/units/collections/") for href in hrefs)
    assert client.get("/api").json()["servers"] == [{"url": "https://maps.example/units"}]
    assert "maps.example" in http.Address("127.0.0.1", 0, url="https://maps.example/units").answers_to
    with pytest.raises(UsageError, match="not the address of a site"):
        http.Address("127.0.0.1", 0, origins=("maps.example",))


def test_tiles_are_those_of_the_build(warehouse: Settings) -> None:
    folder = explorer.folder_of(warehouse)
    folder.mkdir()
    with (folder / f"{built.BUILD_ID}.pmtiles").open("wb") as file:
        writer = Writer(file)
        writer.write_tile(zxy_to_tileid(0, 0, 0), gzip.compress(b"a tile"))
        writer.write_tile(zxy_to_tileid(1, 0, 1), gzip.compress(b"another"))
        writer.finalize(
            {"tile_type": TileType.MVT, "tile_compression": Compression.GZIP, "min_lon_e7": -1_800_000_000},
            {"vector_layers": [{"id": "level_0", "fields": {}}]},
        )
    client = served.client(warehouse)
    told = client.get("/tiles.json").json()
    assert told["tiles"] == ["http://testserver/tiles/{z}/{x}/{y}.mvt"]
    assert "level_0" in [layer["id"] for layer in told["vector_layers"]]
    packed, plain = (
        client.get("/tiles/0/0/0.mvt", headers={"Accept-Encoding": encoding}) for encoding in ("gzip", "identity")
    )
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.content == plain.content == b"a tile"
    assert client.get("/tiles/1/0/1.mvt").content == b"another"
    assert client.get("/tiles/1/1/1.mvt").status_code == 204
    assert client.get("/tiles/2/0/0.mvt").status_code == 404
    assert client.get("/tiles/1/2/0.mvt").status_code == 404


def test_a_question_that_takes_too_long_is_ended(shared: Settings) -> None:
    marts = served.marts_of(shared, seconds=1)
    endless = "select count(*) from range(10000000) as a, range(10000000) as b"
    for ask in (
        lambda asked: asked.warehouse.rows(endless),
        lambda asked: asked.warehouse.query(endless).read_all(),
    ):
        begun = time.monotonic()
        with pytest.raises(QuestionTooLong, match="longer than 1 second"):
            marts.ask(ask)
        assert time.monotonic() - begun < 10
    assert marts.ask(lambda asked: asked.warehouse.rows("select 1")) == [(1,)]


def test_questions_beyond_those_at_once_wait_and_are_then_refused(shared: Settings) -> None:
    marts = served.marts_of(shared, at_once=1, wait=0.05)
    client = served.client(shared, marts)
    answer = marts.ask(lambda _asked: client.get("/find", params={"q": "a"}))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
    assert client.get("/find", params={"q": "a"}).status_code == 200


def test_more_requests_than_there_is_room_for_are_refused_at_once(
    shared: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served_app, "AT_ONCE", 0)
    assert served.client(shared).get("/conformance").status_code == 503


def test_many_at_once_get_the_same_answer(client: TestClient) -> None:
    alone = client.get(LEVEL).json()
    answers: list[Any] = []
    threads = [threading.Thread(target=lambda: answers.append(client.get(LEVEL).json())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [alone] * 8


def test_a_question_reads_no_file_but_the_marts(warehouse: Settings) -> None:
    marts = served.marts_of(warehouse)
    secret = warehouse.home / "secret.txt"
    secret.write_text("secret")
    for statement in (
        f"select * from read_text('{secret}')",
        f"attach '{warehouse.home / 'new.duckdb'}' as new",
        "set enable_external_access = true",
    ):
        with pytest.raises((QueryFailed, duckdb.Error)):
            marts.ask(lambda asked, text=statement: asked.warehouse.rows(text))  # type: ignore[misc]


def test_a_fault_of_ours_is_told_without_its_traceback(shared: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> None:
        raise RuntimeError("secret of the house")

    monkeypatch.setattr(features, "collections", fail)
    answer = served.client(shared).get("/collections")
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert "secret" not in answer.text


@pytest.mark.parametrize("has_marts", [True, False])
def test_the_command_warns_of_licences_or_that_there_are_no_marts_and_serves(
    shared: Settings, settings: Settings, has_marts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    listening: list[str] = []
    monkeypatch.setattr(http, "listen", lambda _app, _name, host, *_more, **_options: listening.append(host))
    http.serve(
        shared if has_marts else settings,
        http.Address("127.0.0.1", 0),
        tiles=shared.home / "map",
        seconds=5,
        of_datasets=catalog.rights_of_datasets(),
        report=said.append,
        warn=said.append,
    )
    assert listening == ["127.0.0.1"]
    assert ("mixes licences" if has_marts else "There is no warehouse") in said[0]


def test_marts_on_spark_are_not_served(settings: Settings) -> None:
    with pytest.raises(UsageError, match="Spark"):
        served.marts_of(replace(settings, spark="/marts"))


def test_the_document_is_of_openapi_and_names_every_path(client: TestClient) -> None:
    document = client.get("/api").json()
    assert document["openapi"].startswith("3.1")
    assert {"/locate", "/find", "/units/{gid}", "/collections/{collection}/items", "/tiles/{z}/{x}/{y}.mvt"} <= set(
        document["paths"]
    )
    assert "422" not in json.dumps(document)


@pytest.mark.slow
def test_whatever_its_document_allows_is_answered_as_it_says(client: TestClient) -> None:
    assert served.ask_whatever_is_allowed(client, examples=3) > 40


def test_a_point_is_located_by_the_index_of_the_build_as_soon_as_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    current = read_settings({"WAREHOUSE_HOME": str(tmp_path)})

    def change(*statements: str) -> None:
        with duckdb.connect(str(current.warehouse)) as connection:
            load_spatial(connection)
            for statement in statements:
                connection.execute(statement)

    nothing = ", ".join(f"null as {name}" for name in COLUMNS[1:])  # say functions, otherwise than the index
    change(
        MARTS,
        f"create macro marts.locate(lon, lat) as table select 'no unit' as status, {nothing}",
        f"create macro marts.locate_points(points) as table select 'no unit' as status, {nothing} "
        "from query_table(points)",
    )
    opened = served.marts_of(current)

    def located() -> list[object]:
        one = opened.ask(lambda asked: answers.locate(asked, 2, 2))
        several = opened.ask(lambda asked: answers.locate_points(asked, [(2, 2), (7, 8)]))
        assert several[0] == {name: one[name] for name in COLUMNS}
        opened.close()
        return [one["gid"], one["name_1"], several[1]["gid"]]

    assert located() == [None] * 3
    with open_warehouse(current) as warehouse:
        Index(current, warehouse).folder()
    assert located() == ["B.1_1", "One", "B.2_1"]
    change("update marts.marts_meta set build_id = 'two'")
    assert located() == [None] * 3
    with open_warehouse(current) as warehouse:
        Index(current, warehouse).folder()
    kept = [opened.ask(lambda asked: asked.locator) for _ in range(2)]
    assert kept[0] is kept[1]
    assert opened.ask(lambda asked: answers.locate(asked, 5, 3))["gids"] == ["B.1_1", "B.2_1"]
    monkeypatch.setattr(service_marts, "MOST_LEARNED", -1)  # what it has found does not stay for ever
    assert opened.ask(lambda asked: asked.locator) is not kept[0]
    opened.close()
