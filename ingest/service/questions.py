"""What may be asked over HTTP, as types: FastAPI checks it, and describes it in the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from admin_boundaries.service import answers, features

TEXT = r"^[^\x00-\x1f\x7f]+$"  # PostgreSQL takes no NUL
NUMBER = r"[-+]?(?:\d{1,3}(?:\.\d{0,20})?|\.\d{1,20})(?:[eE][-+]?\d{1,2})?"
BOX = rf"^{NUMBER}(?:,{NUMBER}){{3}}(?:(?:,{NUMBER}){{2}})?$"
TIME = r"(?:\.\.|\d{4}-\d\d-\d\d(?:T\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d))?)"
TIMES = rf"^(?:{TIME}|{TIME}/{TIME}|{TIME}/|/{TIME})$"
Shape = features.Shape
Key = Annotated[str, Field(min_length=1, max_length=200, pattern=TEXT)]
Text = Annotated[str | None, Field(min_length=1, max_length=200, pattern=TEXT)]
Lon = Annotated[float, Field(ge=-180, le=180, description="Longitude in degrees on WGS 84.")]
Lat = Annotated[float, Field(ge=-90, le=90, description="Latitude in degrees on WGS 84.")]


class Question(BaseModel):
    """Parameters of a question; any other is an error."""

    model_config = ConfigDict(extra="forbid")


class Point(Question):
    """Of `GET /locate`."""

    lon: Lon
    lat: Lat
    at: Annotated[
        str | None,
        Field(
            max_length=40,
            description="Also say what clocks show there at this time: 2026-03-29T00:30Z, or without the Z for what a "
            "clock there shows.",
        ),
    ] = None
    nearest: Annotated[
        str | None,
        Field(
            max_length=20,
            pattern=r"^\d{1,6}(\.\d{1,6})? ?(m|km)$",
            description="Of a point in no unit, also say which is the nearest within a distance up to 500 km: 25km.",
        ),
    ] = None


class Points(Question):
    """The body of `POST /locate`."""

    points: Annotated[
        list[tuple[Lon, Lat]],
        Field(
            min_length=1,
            max_length=answers.MOST_POINTS,
            description="Pairs of longitude and latitude.",
            examples=[[[-66.1, 18.4], [3.05, 36.75]]],
        ),
    ]


class Name(Question):
    """Of `GET /find`."""

    q: Annotated[
        str, Field(min_length=1, max_length=80, pattern=TEXT, description="A name in any spelling, or its beginning.")
    ]
    limit: Annotated[int, Field(ge=1, le=answers.MOST_NAMES, description="How many units to return.")] = 20
    country: Annotated[Text, Field(description="Key of the country that they are in, such as DZA.")] = None


class OfUnit(Question):
    """Of `GET /units/{gid}`."""

    geometry: Annotated[Shape, Field(description="Which shape comes with it.")] = "none"


class OfFeature(Question):
    """Of `GET /collections/{collection}/items/{feature}`."""

    geometry: Annotated[Shape, Field(description="Which shape comes with it.")] = "full"


class Items(OfFeature):
    """Of `GET /collections/{collection}/items`."""

    bbox: Annotated[
        str | None,
        Field(
            pattern=BOX,
            description="West, south, east and north, in degrees on WGS 84: features that have a point in common with "
            "it. West is greater than east of a box across the date line.",
            examples=["-67.3,17.8,-65.2,18.6"],
        ),
    ] = None
    datetime: Annotated[
        str | None,
        Field(pattern=TIMES, description="Chooses nothing, since features have no time of their own."),
    ] = None
    limit: Annotated[
        int,
        Field(
            ge=1,
            description=f"How many features a page has at most. Never are there more than {features.MOST_FEATURES}.",
        ),
    ] = 10
    cursor: Annotated[
        Text, Field(description="The key that the page before ended with: as in its link to the next.")
    ] = None
    parent_gid: Text = None
    gid_0: Text = None
    gid_1: Text = None
    gid_2: Text = None
    gid_3: Text = None
    gid_4: Text = None
    name: Text = None
    type_local: Text = None
    type_english: Text = None
    hasc_code: Text = None
    iso_code: Text = None
    cc_code: Text = None
    licence: Text = None
    source_name: Text = None
    standard_utc_offset: Text = None


class Plain(Question):
    """Of pages that take no parameter."""


class Formatted(Question):
    """Of the landing page."""

    f: Annotated[Literal["json", "html"] | None, Field(description="Instead of the header Accept.")] = None


class Problem(BaseModel):
    """What went wrong, where, and what to do (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    hint: str = ""
    errors: list[dict[str, str]] = []


class Link(BaseModel):
    """A link."""

    href: str
    rel: str
    type: str = "application/json"
    title: str = ""


class About(BaseModel):
    """The marts that an answer is from."""

    dataset: str
    releases: dict[str, str]
    build: str
    built_at: str | None
    stale: list[str]
    licence: str = ""
    attribution: str = ""
    source_name: str = ""


class Located(BaseModel):
    """Where a point lies."""

    model_config = ConfigDict(extra="allow")
    status: str
    gid: str | None
    admin_level: int | None
    path: str | None
    gids: list[str] | None
    tzid: str | None
    tzids: list[str] | None
    where: str = ""
    clock: dict[str, Any] | None = None
    nearest: dict[str, Any] | None = None


class OnePlace(BaseModel):
    """The answer of `GET /locate`."""

    answer: Located
    about: About
    links: list[Link]


class Places(BaseModel):
    """The answer of `POST /locate`."""

    answers: list[Located]
    about: About
    links: list[Link]


class Found(BaseModel):
    """A unit that was found by name."""

    gid: str
    admin_level: int
    name: str
    name_kind: str
    type_english: str | None
    path: str
    is_exact: bool


class Names(BaseModel):
    """The answer of `GET /find`."""

    found: list[Found]
    more: bool
    about: About
    links: list[Link]


class Feature(BaseModel):
    """A feature of GeoJSON."""

    type: Literal["Feature"]
    id: str
    geometry: dict[str, Any] | None
    properties: dict[str, Any]
    links: list[Link] = []


class FeatureCollection(BaseModel):
    """Features of GeoJSON."""

    type: Literal["FeatureCollection"]
    features: list[Feature]
    links: list[Link]
    numberReturned: int  # noqa: N815  as the standard has it
    numberMatched: int | None = None  # noqa: N815
    about: About
