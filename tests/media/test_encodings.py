"""Encodings from before Unicode are told apart by sentences of many languages, as short as one subtitle."""

from __future__ import annotations

import pytest

from sensorium.conversation import Video
from sensorium.media.encodings import old_encoding
from sensorium.media.subtitles import open_subtitles
from sensorium.media.watching import Watcher

# What people say, and the first article of the Universal Declaration of Human Rights.
SAID = {
    "shift_jis": ["こんにちは、元気ですか？\n今日はとても良い天気ですね。", "約束したじゃないか！",
                  "電車が来ます。ご注意ください。",
                  "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。"],
    "euc_jp": ["電車が来ます。ご注意ください。", "どうしてここにいるの？\n早く帰りましょう。"],
    "euc_kr": ["안녕하세요, 오늘 날씨가 참 좋네요.\n어디에 가는 거예요?", "무슨 일이에요?", "빨리 뛰어!",
               "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다."],
    "big5": ["你好，今天天氣很好。\n我們要去哪裡？", "快點，火車要開了！", "請問圖書館怎麼走？",
             "人人生而自由，在尊嚴和權利上一律平等。"],
    "gb18030": ["你好，今天天气很好。\n我们要去哪里？", "第一个问题：谁在唱歌？", "警察！别动！",
                "人人生而自由，在尊严和权利上一律平等。"],
    "cp1251": ["Привет, как дела?\nСегодня хорошая погода.", "ПОМОГИТЕ! ПОЖАР!", "Кто там?", "Он ушёл домой.",
               "Все люди рождаются свободными и равными в своем достоинстве и правах.",
               "Привіт, як справи? Сьогодні гарна погода, чи не так?", "Здравей, как си? Днес времето е хубаво."],
    "koi8-r": ["Привет, как дела?\nСегодня хорошая погода."],
    "cp1252": ["Größe – café “naïve”", "¿Dónde está el niño?", "Don’t go – please…", "C'est ça.", "È vero?",
               "ÜBER ALLES SCHÖN", "Où est-elle allée hier soir ?\nJe ne sais pas, ça m'est égal.",
               "Você não vai à reunião amanhã?", "Perché non è più qui? Sì, così va bene.",
               "Får jag låna din bil? Nej, den är trasig.", "Þetta er mjög góður maður, ég á að fara.",
               "Alle Menschen sind frei und gleich an Würde und Rechten geboren.",
               "Tous les êtres humains naissent libres et égaux en dignité et en droits."],
    "cp1250": ["Dzień dobry, jak się masz?\nDziękuję, wszystko w porządku.", "Co się stało?",
               "Dobrý den, jak se máte? Děkuji, dobře.", "Proč jsi přišel tak pozdě?",
               "Minden emberi lény szabadon születik és egyenlő méltósága és joga van.",
               "Všichni lidé rodí se svobodní a sobě rovní co do důstojnosti a práv.",
               "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw.",
               "Kje si bil včeraj? Čakal sem te že dolgo.", "Unde ai fost ieri? Aş vrea să ştiu şi eu."],
    "iso8859-2": ["Dobrý den, jak se máte? Děkuji, dobře.", "Přišel jste pozdě, už šli domů."],
    "cp1253": ["Καλημέρα, τι κάνεις;\nΣήμερα έχει πολύ καλό καιρό.", "Ποιος είναι;", "Πού πας; Περίμενέ με!",
               "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα."],
    "cp1254": ["Günaydın, nasılsın?\nBugün hava çok güzel, değil mi?", "İyi akşamlar, hoş geldiniz."],
    "cp1255": ["שלום, מה שלומך?\nהיום מזג האוויר יפה."],
    "cp1256": ["مرحبا، كيف حالك؟\nالطقس جميل اليوم."],
}  # fmt: skip
ALL = [(encoding, words) for encoding, said in SAID.items() for words in said]
SRT = "1\n00:00:01,000 --> 00:00:02,000\n{}\n"


@pytest.mark.parametrize(("encoding", "words"), ALL, ids=[f"{encoding}-{words[:9]}" for encoding, words in ALL])
def test_a_single_subtitle_tells_its_encoding(encoding, words):
    data = SRT.format(words).encode(encoding)
    [line] = open_subtitles(data).lines
    assert line.text == " ".join(words.split())


@pytest.mark.parametrize("encoding", SAID)
def test_a_file_of_several_tells_it_after_english_credits_and_in_spite_of_damage(encoding):
    blocks = [SRT.format(words) for words in ("Subtitles by nobody, 2004.", *SAID[encoding])]
    data = "\n".join(blocks).encode(encoding) + b"2\n00:00:03,000 --> 00:00:04,000\n\xff\n"
    name, _ = old_encoding(data)
    assert data.decode(name, errors="replace").startswith("\n".join(blocks))


@pytest.mark.parametrize("words", ["Où est-elle allée hier soir ?", "Привет, как дела?", "你好，今天天气很好。"])
def test_utf_8_with_a_damaged_byte_stays_utf_8(words):
    data = SRT.format(words * 3).encode() + b"2\n00:00:03,000 --> 00:00:04,000\n\xe9\n"
    assert old_encoding(data)[0] == "utf-8"
    assert open_subtitles(data).lines[0].text == words * 3


def test_what_was_guessed_is_said_and_what_was_not_is_not(film, tmp_path):
    clip = str(film(tmp_path / "clip.mp4", [40, 80] * 20))
    words = SRT.format("Привет, как дела?")
    guessed = Watcher().watch(Video(clip, subtitles=words.encode("cp1251")))
    assert guessed.remark == "its subtitles tell no encoding and were read as Windows-1251"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        assert Watcher().watch(Video(clip, subtitles=words.encode(encoding))).remark == ""
