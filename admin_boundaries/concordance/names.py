"""Names without the words for the type of a unit: `centre region` and `region du centre` both become `centre`."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

# As `fold_name` leaves them: lower case, without accents on Latin and Greek letters.
TYPE_WORDS = (
    # English
    *("area", "autonomous", "borough", "canton", "capital", "census", "circuit", "city", "commune", "community"),
    *("council", "county", "department", "district", "division", "emirate", "federal", "governorate", "island"),
    *("islands", "metropolitan", "municipal", "municipality", "oblast", "parish", "prefecture", "province", "quarter"),
    *("region", "regional", "republic", "rural", "special", "state", "sub", "territory", "town", "township", "union"),
    *("urban", "village", "voivodeship", "ward", "zone"),
    # Romance languages
    *("arrondissement", "autonoma", "autonome", "autonomo", "cercle", "ciudad", "comarca", "comuna", "comune"),
    *("comunidad", "concelho", "condado", "departamento", "departement", "distrito", "distretto", "estado", "federal"),
    *("freguesia", "judet", "judetul", "municipio", "parroquia", "partido", "prefeitura", "principado", "provincia"),
    *("raionul", "regiao", "regiune", "regione", "ville"),
    # Germanic, Nordic and Baltic languages
    *("bezirk", "fylke", "gemeente", "gemeinde", "kanton", "kommun", "kommune", "kreis", "land", "landkreis", "lan"),
    *("maakond", "novads", "provincie", "rajons", "rajonas", "savivaldybe", "stadt", "vald"),
    # Slavic languages, in Latin and Cyrillic letters
    *("gmina", "grad", "kraj", "krai", "kray", "obec", "obcina", "oblasti", "okres", "okrug", "okruha", "opcina"),
    *("opstina", "powiat", "rayon", "raion", "respublika", "voblast", "wojewodztwo", "zhupanija", "zupanija"),
    *("край", "область", "округ", "район", "республика"),
    # Others
    *("amphoe", "aimag", "bakhsh", "barangay", "barrio", "changwat", "daerah", "dzongkhag", "eyaleti", "huyen", "il"),
    *("ili", "ilcesi", "jurisdiction", "kabupaten", "kecamatan", "khet", "khoueng", "kota", "mahafazat", "muhafazah"),
    *("muhafazat", "negeri", "nomos", "ostan", "partition", "propinsi", "provinsi", "qada", "quan", "rreth"),
    *("shahrestan", "tambon", "thanh", "tinh", "velayat", "viloyati", "wilayah", "wilaya", "wilayat"),
)
LINKS = ("of", "the", "de", "del", "della", "di", "do", "da", "du", "des", "dei")  # after or before such a word
SUFFIXES = ("省", "市", "县", "縣", "区", "區", "州", "県", "府", "郡", "町", "村", "도", "시", "군", "구")
WORDS = f" (?:(?:{'|'.join(LINKS)})  )*(?:{'|'.join(TYPE_WORDS)})(?:  (?:{'|'.join(LINKS)}))* "


def without_type(names: pa.Array) -> pa.Array:
    """Take the words for types off folded names.

    Parameters
    ----------
    names : StringArray
        As `fold_name` returns them.

    Returns
    -------
    StringArray
        A name of which nothing would be left, such as `district`, stays as it is.
    """
    # every word between two spaces of its own, so that neighbouring words are found as well: RE2 has no look-ahead
    spaced = pc.binary_join_element_wise(" ", pc.replace_substring(names, " ", "  "), " ", "")
    bare = pc.replace_substring_regex(spaced, WORDS, "")
    bare = pc.utf8_trim_whitespace(pc.replace_substring_regex(bare, " +", " "))
    bare = pc.replace_substring_regex(bare, f"^(..+)(?:{'|'.join(SUFFIXES)})$", r"\1")
    return pc.if_else(pc.equal(bare, ""), names, bare)
