import re
import tomllib

import pytest
from pydantic import ValidationError

from lowres.cards import card_of_language
from lowres.corpus.namespaces import Namespaces
from lowres.corpus.spec import CorpusSpec, template_additions
from lowres.corpus.templates import additions, rule_for, rules_for
from lowres.corpus.wikitext import FORMULA, clean
from lowres.errors import RecipeError
from lowres.templates import Dates, Numbers, TemplateTable
from lowres.text.normalise import Normalisation, normalise

NAMES = Namespaces({0: "", 6: "Tập tin"})


def shown(wikitext: str, language: str = "any", **card) -> str:
    rules = rules_for(language, TemplateTable.model_validate(card))
    return normalise(clean(wikitext, NAMES, "Huế", rules), Normalisation())


@pytest.mark.parametrize(
    ("language", "wikitext", "text"),
    [
        # templates as they stand in the dumps of vi, en, mr and ltg
        ("any", "{{transl|ar|ISO|[[Giêsu|Isa]]}} {{transl|grc|''planetes''}}", "Isa planetes"),
        ("any", "{{rtl-lang|ar|الكيمياء}} {{Script|Copt|Ⲁ ⲁ}} {{script/Arabic|ﷲ}}", "الكيمياء Ⲁ ⲁ ﷲ"),
        ("any", "{{IPA|/k/}} {{IPA|fr|kanada}} {{IPA-fr|kanadɑ||Fr.ogg}} {{IPA-nah|/nepo/|}}",
         "/k/ [kanada] [kanadɑ] /nepo/"),
        ("any", "{{IPAc-en|audio=x.ogg|ˌ|s|æ|n|_|f|ɹ|ə|n}}", "/ˌsæn fɹən/"),
        ("any", "{{IPAc-en|US|ˈ|l|ɪ}}, {{respell|LEEN|uuks}}", "/ˈlɪ/, LEEN-uuks"),
        ("any", "{{circa|1900}}, {{c.|7}}, {{floruit|1590}}", "c. 1900, c. 7, fl. 1590"),
        ("any", "{{ill|Sverker Johansson|sv}}; {{ill|de|G E|G E|Gymnasium}}; {{ill|A|de|B|lt=C}}",
         "Sverker Johansson; Gymnasium; C"),
        ("any", "B{{Music|flat}} {{sup|a}} {{ruby|漢|かん}} {{abbr|tt|tháng}}", "B♭ a 漢 tt"),
        ("any", "{{angbr|a}} {{vr|ai}} {{IETF RFC|675}} {{USS|Hornet|CV-12|6}}", "⟨a⟩ ai RFC 675 USS Hornet"),
        ("any", "{{val|6.241|e=18}} 4{{e|–22}} {{val|5|0.2|u=km}}", "6.241×10¹⁸ 4×10⁻²² 5±0.2 km"),
        ("any", "{{frac|3}} {{frac|3|2}} {{sfrac|1|4}}", "1/3 3/2 1/4"),
        ("any", "{{chem|CH|3|COOH}} {{eqm}} x{{mdashb}}y", "CH3COOH ⇌ x—y"),
        ("any", "{{harvtxt|Boolos|Jeffrey|1974}} {{nuclide2|calcium|48|link=y}}", "Boolos & Jeffrey (1974) calcium-48"),
        ("any", "{{convert|5|to|10|km|mi}} {{cvt|3|x|4|m2}} {{convert|3,3|PD/km2}} {{convert|}}",
         "5–10 km 3 × 4 m² 3,3 /km²"),
        ("any", "{{convert|2095|km2}} {{formatnum:1234.5}} {{as of|2011}}", "2095 km² 1234.5 2011"),
        ("any", "{{dts|1961|2|4}} {{dts|4 May 1961}}", "1961-02-04 4 May 1961"),
        ("any", "a{{flagicon|KAZ}} {{sfn|Terrill|2009}}{{rp|90}} {{citation needed|date=2015}} b", "a b"),
        ("eng", "{{formatnum:1234567.5}} {{formatnum:1,234.5|R}} {{formatnum:1234|NOSEP}}", "1,234,567.5 1234.5 1234"),
        ("eng", "{{convert|1300|mi|km}}, {{convert|1-1/2|in}}", "1,300 mi, 1-1/2 in"),
        ("eng", "{{birth date|mf=yes|1905|02|02}}; {{Birth date|df=yes|1885|4|3}}", "February 2, 1905; 3 April 1885"),
        ("eng", "{{As of|2019|lc=y}}, {{as of|2015|12}}; {{as of|2018|1|alt=Last year}}",
         "as of 2019, As of December 2015; Last year"),
        ("vie", "{{convert|2095|km2|abbr=on}} {{convert|46,9|sqmi}} {{convert|1.189|mm}}",
         "2.095 km² 46,9 sq mi 1.189 mm"),
        ("vie", "{{formatnum:7793600.25}} {{formatnum:7.793.600,25|R}}", "7.793.600,25 7793600.25"),
        ("vie", "{{ngày sinh|1890|5|19}} {{Tính đến|2019|October|21}}",
         "19 tháng 5 năm 1890 Tính đến 21 tháng 10 năm 2019"),
        ("vie", "{{As of|2011}} {{tính đến|2015|12|lc=y}}", "Tính đến năm 2011 tính đến tháng 12 năm 2015"),
        ("vie", "{{hn|ch=吳權}} {{hn|hn=𥔦化}} {{nôm|前吳王}} {{circa|1900}}", "吳權 𥔦化 前吳王 k. 1900"),
        ("mar", "{{formatnum:1234567.5}} {{formatnum:१२,३४|R}} {{रुपया}}५", "१२,३४,५६७.५ 1234 ₹५"),
        ("mar", "{{लेखनाव}} {{birth date|1911|8|25}}", "Huế २५ ऑगस्ट १९११"),
        ("ltg", "{{Vol-lv|augi}}, {{vol-bat-smg|Šiaulē}}, {{formatnum:1234.5}}", "augi, Šiaulē, 1 234,5"),
    ],
)  # fmt: skip
def test_what_a_reader_sees(language, wikitext, text):
    assert shown(wikitext, language) == text


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("bonjour {{a}} {{b}}. Sau", "bonjour. Sau"),
        ("a ( {{a}}; {{b}}, tiếng Anh: b)", "a (tiếng Anh: b)"),
        ("A ({{lang|en|B}}, {{a}}) c", "A (B) c"),
        ("A <ref>x</ref> , b <ref>y</ref> . C", "A, b. C"),
        ("(''{{a}}'' , b) và ''{{lang|fr|c}}''", "(b) và c"),
        ("a {{x}}।", "a।"),
        ("mot {{x}} ; autre , chose", "mot ; autre , chose"),
        ("f(a, {{x}}b) ". strip(), "f(a, b)"),
    ],
)  # fmt: skip
def test_what_is_left_out_leaves_no_hole(wikitext, text):
    assert shown(wikitext) == text


def test_a_formula_may_leave_a_word():
    text = "dài <math>x</math>, <chem>H2O</chem> và {{math|''E''}}"
    assert clean(text, NAMES) == "dài,  và E"
    assert clean(text, NAMES, formula=FORMULA) == "dài FORMULA, FORMULA và E"


def test_a_card_goes_before_what_is_shipped():
    assert shown("{{mới|a}}{{x/y|b}}") == ""
    assert shown("{{Mới|a}} {{x/y|b}}", first=["Mới", "x/*"]) == "a b"
    assert shown("a {{circa|1900}}", "vie", drop=["circa"]) == "a"
    assert shown("a {{circa|1900}}", "vie", shows={"circa": "khoảng {1}"}) == "a khoảng 1900"
    assert shown("{{lang-fr|a}} {{lang-xx|b}}", drop=["lang-xx"]) == "a"
    assert (
        shown("{{convert|5|km}} {{formatnum:1234}}", units={"km": "kilômét"}, numbers={"thousands": "'"})
        == "5 kilômét 1'234"
    )


def test_what_a_card_says_that_is_shipped_does_not_count():
    assert additions("vie", TemplateTable(first=["nhỏ", "NOWRAP", "lang-fr"], drop=["sfn"])) == TemplateTable()
    assert additions("vie", TemplateTable(shows={"circa": "k. {1}"}, units={"km2": "km²"})) == TemplateTable()
    found = additions("vie", TemplateTable(first=["nhỏ", "mới"], drop=["circa"], numbers=Numbers(decimal="·")))
    assert found.hashed() == {
        "first": ["mới"],
        "drop": ["circa"],
        "numbers": {"decimal": "·", "thousands": "", "grouping": "threes", "digits": ""},
    }
    one, other = (TemplateTable(first=names) for names in (["B_c", "a"], ["a", "b c"]))
    assert one == other


@pytest.mark.parametrize("language", ["any", "eng", "vie", "mar", "ltg"])
def test_every_shipped_name_has_its_rule(language):
    rules = rules_for(language)
    assert len(rules) > 300
    assert all(rule_for(name, rules) is rule and name == name.lower() for name, rule in rules.items())


def test_a_language_without_a_table_has_that_of_any():
    assert rules_for("som").keys() == rules_for("any").keys()


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        ({"first": ["a"], "second": ["A"]}, "stands under first and under second"),
        ({"numbers": {"digits": "123"}}, "ten are needed"),
        ({"dates": {"months": ["x"]}}, "twelve are needed"),
        ({"dates": {"full": "{tag}"}}, "what may stand in it is {year}, {month}, {day}"),
        ({"fisrt": ["a"]}, "Extra inputs"),
    ],
)
def test_faults_of_a_table_are_named(table, fault):
    with pytest.raises(ValidationError, match=re.escape(fault)):
        TemplateTable.model_validate(table)


CARD = 'card = "language"\niso = "som"\nwiki = "so"\nname = "Somali"\n'


def test_a_corpus_takes_its_languages_card(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert card_of_language("som") is None
    bare = CorpusSpec(source_sha256="0" * 64, format="mediawiki", language="som").hashed()
    path = tmp_path / "corpora/so/language.toml"
    path.parent.mkdir(parents=True)
    path.write_text(CARD)
    assert template_additions("som", "mediawiki") == TemplateTable()
    path.write_text(CARD + '[templates]\nfirst = ["nowrap", "Tusaale"]\n')
    more = template_additions("som", "mediawiki")
    assert more == TemplateTable(first=["tusaale"])
    assert template_additions("som", "jsonl") == template_additions("vie", "mediawiki") == TemplateTable()
    spec = CorpusSpec(source_sha256="0" * 64, format="mediawiki", language="som", templates=more)
    assert spec.hashed() == {**bare, "templates": {"first": ["tusaale"]}}
    assert "templates" not in bare and "markup" not in bare
    assert (
        CorpusSpec.model_validate(
            tomllib.loads('source_sha256 = "0"\nformat = "mediawiki"\nlanguage = "som"')
        ).templates
        == TemplateTable()
    )
    path.write_text(CARD + '[templates]\nfirts = ["x"]\n')
    with pytest.raises(RecipeError, match=r"templates\.firts: unknown key; did you mean first\?"):
        template_additions("som", "mediawiki")


def test_dates_without_months_are_numbers():
    assert Dates().full.format(year=2011, month=2, day=3) == "2011-02-03"
    assert shown("{{birth date|1911|13|1}} {{birth date|1911|2|40}} {{birth date||}}") == "1911 1911-02"
