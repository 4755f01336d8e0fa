"""Which link prefixes a wiki gives to its files and categories."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

MAIN, MEDIAWIKI, TEMPLATE = 0, 8, 10
_MEDIA, _FILE, _CATEGORY = -2, 6, 14

# A dump's siteinfo names each namespace once and leaves out its aliases (`Hình:` beside `Tập tin:`), and some published
# excerpts carry the header of another wiki. These are the names and aliases of MediaWiki's own language files.
_KNOWN = """
file, image, media, category
tập tin, hình, phương tiện, thể loại
fails, attēls, medeja, kategoreja, kategorija
datei, bild, kategorie, fichier, catégorie, archivo, imagen, categoría, ficheiro, imagem, arquivo, categoria, immagine
bestand, afbeelding, categorie, fil, billede, kategori, tiedosto, kuva, luokka, plik, grafika, kategoria, soubor, súbor
kategória, fájl, kép, fișier, imagine, файл, изображение, категория, зображення, категорія, датотека, слика, категорија
dosya, resim, ملف, صورة, تصنيف, پرونده, تصویر, رده, زمرہ, فائل, קובץ, תמונה, קטגוריה
चित्र, वर्ग, श्रेणी, চিত্র, বিষয়শ্রেণী, படிமம், பகுப்பு, దస్త్రం, వర్గం, പ്രമാണം, ചിത്രം, വർഗ്ഗം
ไฟล์, ภาพ, หมวดหมู่, ឯកសារ, ចំណាត់ថ្នាក់ក្រុម, ຮູບ, ໝວດ, ဖိုင်, ကဏ္ဍ, 파일, 그림, 분류, ファイル, 画像, カテゴリ
文件, 图像, 檔案, 分类, 分類
berkas, gambar, imej, fail, talaksan, larawan, kaurian, picha, faili, jamii, fáìlì, ẹ̀ka, qaybta, qeyb
fitxategi, irudi, delwedd, faidhle, ìomhaigh, roinn-seòrsa, fichye, imaj, ӳкерчĕк, катăлăк, fitxer, imatge, vaizdas
pilt
"""
_ALIASES = frozenset(name.strip() for line in _KNOWN.splitlines() for name in line.split(",") if name.strip())


@dataclass(frozen=True)
class Namespaces:
    """The namespaces of one wiki. names: number -> local name, as siteinfo gives them; main is ''."""

    names: Mapping[int, str] = field(default_factory=dict)

    @cached_property
    def unseen(self) -> frozenset[str]:
        """Link prefixes, in lower case, whose links show no text: files, media and categories."""
        local = {self.names[number].lower() for number in (_MEDIA, _FILE, _CATEGORY) if self.names.get(number)}
        return _ALIASES | local

    def bare_title(self, title: str, number: int) -> str:
        """`title` without the prefix of its namespace: `Taiss:Disambig` -> `Disambig`."""
        prefix, colon, rest = title.partition(":")
        return rest if colon and prefix.lower() == self.names.get(number, "").lower() else title
