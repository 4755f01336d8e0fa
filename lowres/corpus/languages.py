"""Whether a wiki's language code and an ISO 639-3 code can be the same language."""

from lowres.wikipedias import edition_of

_OLD_CODES = {"be-x-old": "be-tarask"}
_MEMBERS = """
aka: fat twi; ara: arb arz ary apc acm aeb; aym: ayr ayc; aze: azj azb; cre: crk cwd csw; est: ekk vro; fas: pes prs;
ful: fub fuc fuf fuh fuv; grn: gug gui gun; hbs: hrv srp bos cnr; iku: ike ikt; ipk: esi esk; kau: knc kby; kom: kpv
koi; kon: kng kwy; kur: kmr ckb sdh; lav: lvs ltg; mlg: plt bhr; mon: khk mvf; msa: zsm zlm ind min; nep: npi dty;
nor: nob nno; oji: ojb ojg; ori: ory spv; orm: gaz hae; pus: pbu pbt pst; que: quz quy; sqi: als aln; srd: sro src;
swa: swh swc; uzb: uzn uzs; yid: ydd yih; zha: zyb; zho: cmn yue nan wuu hak gan;
"""
_MACROLANGUAGES = {
    macro.strip(): frozenset(members.split())
    for macro, _, members in (entry.partition(":") for entry in _MEMBERS.split(";"))
    if members
}
"""ISO 639-3 macrolanguages and their members that have texts (SIL, macrolanguage mappings)."""


def same_language(wiki: str, language: str) -> bool:
    """Whether a dump whose `xml:lang` is `wiki` may hold `language`; True where either is not known.

    A macrolanguage and its member count as one: the wiki `sw` is `swa`, its texts are `swh`.
    """
    import pycountry

    code = wiki.lower()
    edition = edition_of(_OLD_CODES.get(code, code))
    known = pycountry.languages.get(**{"alpha_2" if len(code) == 2 else "alpha_3": code})
    found = edition.iso if edition else known.alpha_3 if known else "unknown"
    if found == "unknown" or not pycountry.languages.get(alpha_3=language):
        return True
    if found == language:
        return True
    return language in _MACROLANGUAGES.get(found, ()) or found in _MACROLANGUAGES.get(language, ())
