"""Little World: a corpus whose true entropy is known.

A world is a program that writes text by making choices, and every choice has a known probability.
So three things that are out of reach for real text are exact here: how probable a text is, what
may come next and with which probability, and the loss of the perfect model (the floor).

The program is a generator. It yields one `Choice` after another and is told what was chosen. The
same program is driven in three ways: `sample` draws each choice, `trace` reads the choices back
from a text, and `entropy` walks through all of them. Reading back is possible because no option
of a choice is the beginning of another option, so a text has exactly one derivation.

Only the standard library is used, and the only source of chance is `random.Random(seed).random`,
so the same seed gives the same bytes on every Python from 3.11 up.
"""

import math
import random
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from functools import lru_cache

__all__ = ["KINDS", "Choice", "Scene", "Step", "World", "little_world", "tiny_world"]

# What decides a character:
#   fixed    nothing is left to decide (0 nats)
#   free     a fresh choice of the world: a name, a colour, what happens next
#   context  a choice among things already in the scene: who acts, what is asked
#   answer   0 nats for a reader who remembers the scene: pure retrieval
KINDS = ("fixed", "free", "context", "answer")


@dataclass(frozen=True)
class Choice:
    """Options with probabilities. `symmetric` promises that the rest of the scene has the same
    entropy whichever option is taken, so that `World.entropy` need follow only one of them."""

    options: tuple[str, ...]
    kind: str
    weights: tuple[float, ...] | None = None
    symmetric: bool = True

    def probability(self, index: int) -> float:
        if self.weights is None:
            return 1 / len(self.options)
        return self.weights[index] / sum(self.weights)

    def entropy(self) -> float:
        """Nats."""
        chances = [self.probability(i) for i in range(len(self.options))]
        return -sum(p * math.log(p) for p in chances)

    def draw(self, u: float) -> int:
        """The option whose piece of [0, 1) contains u."""
        if self.weights is None:
            return int(u * len(self.options))
        total = 0.0
        for i in range(len(self.options) - 1):
            total += self.probability(i)
            if u < total:
                return i
        return len(self.options) - 1

    def match(self, text: str, start: int) -> int | None:
        """The option that `text` continues with at `start`; None when there is none."""
        for i, option in enumerate(self.options):
            if text.startswith(option, start):
                return i
        return None

    def next_characters(self, written: str) -> dict[str, float]:
        """Distribution of the next character once `written`, the start of an option, stands."""
        masses: dict[str, float] = {}
        for i, option in enumerate(self.options):
            if option.startswith(written):
                char = option[len(written)]
                masses[char] = masses.get(char, 0.0) + self.probability(i)
        total = sum(masses.values())
        return {char: mass / total for char, mass in masses.items()}


# A program yields choices, receives the index chosen, and returns what happened.
Program = Generator[Choice, int, "Story"]


@dataclass(frozen=True)
class Story:
    """What a scene tells, apart from its English words."""

    chinese: str
    mood: str


@dataclass(frozen=True)
class Scene:
    """One scene: the English text (it ends in a newline), the same in Chinese, the mood it ends
    in, and the probability of the text in nats."""

    text: str
    chinese: str
    mood: str
    logprob: float


@dataclass(frozen=True)
class Step:
    """One character of a text: its probability given all before it, and what decided it."""

    char: str
    probability: float
    kind: str


class World:
    """A source of scenes whose probabilities are known exactly.

    Texts are scenes one after another; each ends in a newline and is independent of the others.
    """

    def __init__(self, name: str, program: Callable[[], Program]):
        self.name = name
        self.program = program

    # ---- writing -------------------------------------------------------------------------

    def scene(self, seed: int) -> Scene:
        """The scene that this seed writes."""
        return self._write(random.Random(seed).random)

    def scenes(self, n: int, seed: int) -> list[Scene]:
        """`n` independent scenes; the same seed gives the same ones everywhere."""
        draw = random.Random(seed).random
        return [self._write(draw) for _ in range(n)]

    def corpus(self, n: int, seed: int) -> list[str]:
        """The texts of `n` scenes."""
        return [scene.text for scene in self.scenes(n, seed)]

    def split(self, n_train: int, n_validation: int, seed: int = 0) -> tuple[list[str], list[str]]:
        """Training and validation texts; no validation text occurs among the training texts."""
        train = self.corpus(n_train, 2 * seed)
        seen, validation = set(train), []
        draw = random.Random(2 * seed + 1).random
        while len(validation) < n_validation:
            text = self._write(draw).text
            if text not in seen:
                validation.append(text)
        return train, validation

    def _write(self, draw: Callable[[], float]) -> Scene:
        program, parts, logprob = self.program(), [], 0.0
        try:
            choice = next(program)
            while True:
                index = 0
                if len(choice.options) > 1:
                    index = choice.draw(draw())
                    logprob += math.log(choice.probability(index))
                parts.append(choice.options[index])
                choice = program.send(index)
        except StopIteration as end:
            story = end.value
        return Scene("".join(parts), story.chinese, story.mood, logprob)

    # ---- reading -------------------------------------------------------------------------

    def trace(self, text: str) -> list[Step]:
        """Every character of `text` with its exact probability and kind.

        The text starts where a scene starts and may stop anywhere. At the first character that
        the world cannot write, the trace ends with a step of probability 0.
        """
        steps: list[Step] = []
        while len(steps) < len(text):
            if not self._read_scene(text, steps):
                break
        return steps

    def _read_scene(self, text: str, steps: list[Step]) -> bool:
        """Append the steps of one scene; False when the text ended or became impossible."""
        program = self.program()
        try:
            choice = next(program)
            while True:
                index = choice.match(text, len(steps))
                target = text[len(steps) :] if index is None else choice.options[index]
                if not _read_choice(choice, target, steps):
                    return False
                choice = program.send(index)
        except StopIteration:
            return True

    def logprob(self, text: str) -> float:
        """Exact log-probability of `text` in nats; -inf when the world cannot write it
        (`impossible_at` says where). An unfinished text gets the probability of its prefix."""
        steps = self.trace(text)
        if steps and steps[-1].probability == 0:
            return -math.inf
        return sum(math.log(step.probability) for step in steps)

    def impossible_at(self, text: str) -> int | None:
        """Position of the first character that the world cannot write there; None if all can."""
        steps = self.trace(text)
        return len(steps) - 1 if steps and steps[-1].probability == 0 else None

    def kinds(self, text: str) -> list[str]:
        """The kind of every character; see `KINDS`."""
        return [step.kind for step in self._possible_trace(text)]

    def next_distribution(self, prefix: str) -> dict[str, float]:
        """The true distribution of the next character after `prefix`."""
        self._possible_trace(prefix)
        current = prefix[prefix.rfind("\n") + 1 :]
        program, position = self.program(), 0
        choice = next(program)
        while (index := choice.match(current, position)) is not None:
            position += len(choice.options[index])
            choice = program.send(index)
        return choice.next_characters(current[position:])

    def _possible_trace(self, text: str) -> list[Step]:
        steps = self.trace(text)
        if steps and steps[-1].probability == 0:
            at = len(steps) - 1
            raise ValueError(
                f"{self.name} cannot write {text[at]!r} at position {at}, after "
                f"{text[max(0, at - 30) : at]!r}: check the text, or start where a scene starts."
            )
        return steps

    # ---- the floor -----------------------------------------------------------------------

    def pieces(self, text: str, pieces: Iterable[str]) -> list[tuple[float, str]]:
        """(nats, kind) of every piece, where the pieces joined are `text`: words, tokens, ...

        A piece is of the kind of its first character that is not fixed.
        """
        steps, start, out = self._possible_trace(text), 0, []
        for piece in pieces:
            part = steps[start : start + len(piece)]
            if "".join(step.char for step in part) != piece:
                raise ValueError(f"The pieces do not join to the text: {piece!r} at {start}.")
            kind = next((step.kind for step in part if step.kind != "fixed"), "fixed")
            out.append((-sum(math.log(step.probability) for step in part), kind))
            start += len(piece)
        if start != len(text):
            raise ValueError(f"The pieces end at {start}, the text at {len(text)}.")
        return out

    def nats(self, texts: Iterable[str]) -> float:
        """Total nats of the texts: no model can be expected to score below this."""
        return -sum(self.logprob(text) for text in texts)

    def floor(self, texts: list[str], tokenizer=None) -> float:
        """Loss of the perfect model on these texts: nats per character, or per token when a
        tokenizer (anything with `encode(text) -> list`) is given. The newline that ends a scene
        is scored like everything else."""
        if tokenizer is None:
            return self.nats(texts) / sum(len(text) for text in texts)
        return self.nats(texts) / sum(len(tokenizer.encode(text)) for text in texts)

    def bits_per_byte(self, texts: list[str]) -> float:
        """The floor in a unit that does not depend on the tokenizer."""
        return self.nats(texts) / math.log(2) / sum(len(text.encode("utf-8")) for text in texts)

    def entropy(self) -> float:
        """Exact entropy of one scene in nats: the expected `-logprob` of a scene."""
        return self._entropy_after([])

    def _entropy_after(self, chosen: list[int]) -> float:
        program = self.program()
        try:
            choice = next(program)
            for index in chosen:
                choice = program.send(index)
            path, total = list(chosen), 0.0
            while choice.symmetric or len(choice.options) == 1:
                total += choice.entropy()
                path.append(0)
                choice = program.send(0)
        except StopIteration:
            return total
        branches = range(len(choice.options))
        return (
            total
            + choice.entropy()
            + sum(choice.probability(i) * self._entropy_after([*path, i]) for i in branches)
        )


def _read_choice(choice: Choice, target: str, steps: list[Step]) -> bool:
    """Append a step per character of `target`; False when it does not complete an option."""
    if choice.options == (target,):
        steps.extend(Step(char, 1.0, choice.kind) for char in target)
        return True
    for n, char in enumerate(target):
        following = choice.next_characters(target[:n])
        probability = following.get(char, 0.0)
        kind = choice.kind if len(following) > 1 or choice.kind == "answer" else "fixed"
        steps.append(Step(char, probability, kind))
        if probability == 0:
            return False
    return target in choice.options


# ---- the words ---------------------------------------------------------------------------------


def _words(table: str) -> tuple[tuple[str, str], ...]:
    """'kite 风筝, drum 鼓' -> (('kite', '风筝'), ('drum', '鼓')); English may hold spaces."""
    return tuple(tuple(entry.strip().rsplit(maxsplit=1)) for entry in table.split(","))


SHE = _words("""
    Mia 米娅, Ann 安, Lily 莉莉, Rosa 罗莎, Emma 艾玛, Clara 克拉拉, Nora 诺拉, Ella 埃拉,
    Ruth 露丝, Sofia 索菲亚, Helen 海伦, Grace 格蕾丝, Alice 爱丽丝, Julia 朱莉娅, Wendy 温迪,
    Yara 雅拉, Diana 戴安娜, Fiona 菲奥娜, Irene 艾琳, Lucy 露西
""")
HE = _words("""
    Tom 汤姆, Ben 本, Leo 利奥, Max 马克斯, Sam 萨姆, Jack 杰克, Oscar 奥斯卡, Paul 保罗,
    Felix 菲利克斯, Hugo 雨果, Ivan 伊万, Karl 卡尔, David 大卫, Noah 诺亚, Peter 彼得,
    Victor 维克托, Adam 亚当, Eric 埃里克, Frank 弗兰克, George 乔治
""")
DAYS = _words("""
    Monday 星期一, Tuesday 星期二, Wednesday 星期三, Thursday 星期四, Friday 星期五,
    Saturday 星期六, Sunday 星期日
""")
PLACES = _words("""
    garden 花园, kitchen 厨房, park 公园, school 学校, library 图书馆, market 市场, forest 森林,
    harbour 港口, museum 博物馆, bakery 面包店, station 车站, village 村庄, castle 城堡,
    valley 山谷, theatre 剧院, cabin 小屋, meadow 草地, tower 塔楼, desert 沙漠, jungle 丛林,
    cave 山洞, hotel 旅馆, office 办公室, temple 寺庙, zoo 动物园, attic 阁楼, cellar 地窖,
    gym 体育馆, lobby 大厅, tent 帐篷, barn 谷仓, church 教堂, canteen 食堂, stable 马厩,
    studio 画室, workshop 车间, yard 院子
""")
COLOURS = _words("""
    a red 红色, a blue 蓝色, a green 绿色, a yellow 黄色, a black 黑色, a white 白色,
    a brown 棕色, a grey 灰色, a pink 粉色, a purple 紫色, an orange 橙色, a golden 金色
""")
THINGS = _words("""
    kite 风筝, drum 鼓, ball 球, hat 帽子, book 书, lamp 灯, cup 杯子, coat 外套, boat 船,
    bell 铃铛, key 钥匙, ring 戒指, rope 绳子, scarf 围巾, spoon 勺子, basket 篮子, bottle 瓶子,
    blanket 毯子, candle 蜡烛, clock 钟, compass 指南针, crown 王冠, flag 旗子, flute 笛子,
    guitar 吉他, hammer 锤子, helmet 头盔, ladder 梯子, map 地图, mask 面具, mirror 镜子,
    needle 针, painting 画, pencil 铅笔, pillow 枕头, puppet 木偶, puzzle 拼图, ribbon 丝带,
    robot 机器人, shell 贝壳, shirt 衬衫, shovel 铲子, stamp 邮票, stone 石头, sword 剑,
    telescope 望远镜, ticket 票, trumpet 小号, umbrella 雨伞, wallet 钱包, whistle 哨子,
    bucket 水桶, anchor 锚, brush 刷子, carpet 地毯, doll 娃娃, envelope 信封, feather 羽毛,
    globe 地球仪, jacket 夹克, kettle 水壶, letter 信, magnet 磁铁, necklace 项链
""")
ANIMALS = _words("""
    ducks 鸭子, cats 猫, dogs 狗, birds 鸟, frogs 青蛙, foxes 狐狸, bears 熊, goats 山羊,
    horses 马, sheep 绵羊, rabbits 兔子, snails 蜗牛, turtles 乌龟, wolves 狼, owls 猫头鹰,
    bees 蜜蜂, mice 老鼠, pigs 猪, swans 天鹅, tigers 老虎, lions 狮子, monkeys 猴子,
    parrots 鹦鹉, whales 鲸鱼, ants 蚂蚁, crabs 螃蟹, deer 鹿, geese 鹅
""")
JOBS = _words("""
    a baker 面包师, a pilot 飞行员, a doctor 医生, a teacher 老师, a farmer 农民, a singer 歌手,
    a painter 画家, a sailor 水手, a dancer 舞者, a lawyer 律师, a judge 法官, a nurse 护士,
    a writer 作家, a tailor 裁缝, a miner 矿工, a hunter 猎人, a poet 诗人, a cook 厨师,
    a barber 理发师, a driver 司机, an actor 演员, an engineer 工程师, a gardener 园丁,
    a clown 小丑, a butcher 屠夫, a chemist 药剂师, a knight 骑士, a plumber 水管工
""")
FOODS = _words("""
    soup 汤, bread 面包, rice 米饭, cheese 奶酪, cake 蛋糕, honey 蜂蜜, noodles 面条, salad 沙拉,
    beans 豆子, fish 鱼, apples 苹果, grapes 葡萄, plums 李子, pears 梨, cherries 樱桃,
    carrots 胡萝卜, mushrooms 蘑菇, potatoes 土豆, tofu 豆腐, pancakes 煎饼, dumplings 饺子,
    yoghurt 酸奶, nuts 坚果, jam 果酱, lemons 柠檬, melons 甜瓜, pasta 意面, peas 豌豆
""")
THEN = _words("Then 然后, Later 后来, Soon 不久, Next 接着")
NUMBERS = _words("""
    one 一, two 二, three 三, four 四, five 五, six 六, seven 七, eight 八, nine 九, ten 十,
    eleven 十一, twelve 十二
""")
GIVES = _words("gives 给了, hands 递给, sends 寄给, lends 借给")
LOSES = _words("loses 弄丢, drops 掉落, breaks 弄坏, forgets 忘记")
MOODS = {
    "happy": _words("happy 高兴, glad 开心, cheerful 欢快, delighted 喜悦, joyful 快乐"),
    "sad": _words("sad 难过, upset 沮丧, unhappy 不开心, gloomy 忧郁, miserable 痛苦"),
    "proud": _words("proud 自豪, pleased 满意, calm 平静, content 知足, confident 自信"),
}


# ---- small words of the programs ---------------------------------------------------------------


def _say(text: str) -> Choice:
    return Choice((text,), "fixed")


def _recall(text: str) -> Choice:
    """Known to whoever remembers the scene."""
    return Choice((text,), "answer")


@lru_cache(maxsize=4096)
def _pick(words: tuple[tuple[str, str], ...]) -> Choice:
    return Choice(tuple(english for english, _ in words), "free")


def _noun(word: tuple[str, str]) -> str:
    """Without the article: 'a red' -> 'red'."""
    return word[0].split(maxsplit=1)[-1]


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _without(words: tuple, gone) -> tuple:
    return tuple(word for word in words if word != gone)


# ---- Little World ------------------------------------------------------------------------------

PEOPLE = SHE + HE


class _Stage:
    """What is true in a scene so far: the memory that its later sentences draw on."""

    def __init__(self, day: tuple, hero: tuple, friend: tuple, place: tuple):
        self.day, self.hero, self.friend, self.place = day, hero, friend, place
        self.colour: dict = {}  # thing -> colour
        self.holder: dict = {}  # thing -> person, or None once it is lost
        self.job: tuple | None = None
        self.food: tuple | None = None
        self.counted: tuple | None = None  # (number, animal)
        self.feels: tuple | None = None  # word for the hero's mood
        self.mood = "quiet"
        self.chinese: list[str] = []

    @property
    def pronoun(self) -> tuple[str, str]:
        return ("She", "她") if self.hero in SHE else ("He", "他")

    @property
    def possessive(self) -> str:
        return "her" if self.hero in SHE else "his"

    def own_things(self) -> tuple:
        return tuple(thing for thing, holder in self.holder.items() if holder == self.hero)


def _little_scene() -> Program:
    stage = yield from _opening()
    yield from _belongings(stage)
    yield from _habits(stage)
    for _ in range(2):
        yield from _event(stage)
    yield from _questions(stage, 4)
    yield _say("\n")
    return Story("".join(stage.chinese) + "\n", stage.mood)


def _opening() -> Program:
    """On Monday, Mia is in the garden with Tom."""
    yield _say("On ")
    day = DAYS[(yield _pick(DAYS))]
    yield _say(", ")
    hero = PEOPLE[(yield _pick(PEOPLE))]
    yield _say(" is in the ")
    place = PLACES[(yield _pick(PLACES))]
    yield _say(" with ")
    rest = _without(PEOPLE, hero)
    friend = rest[(yield _pick(rest))]
    yield _say(".")
    stage = _Stage(day, hero, friend, place)
    stage.chinese.append(f"{day[1]}，{hero[1]}和{friend[1]}在{place[1]}。")
    return stage


def _belongings(stage: _Stage) -> Program:
    """Mia has a red kite. Sometimes a second thing: Tom has an orange drum."""
    yield _recall(f" {stage.hero[0]}")
    yield from _has(stage, stage.hero, THINGS)
    more = Choice((f" {stage.hero[0]}", f" {stage.friend[0]}"), "context", (5.0, 1.0), False)
    if (yield more) == 1:
        (first,) = stage.holder
        yield from _has(stage, stage.friend, _without(THINGS, first))
        yield _recall(f" {stage.hero[0]}")


def _has(stage: _Stage, person: tuple, things: tuple) -> Program:
    """... has a red kite."""
    yield _say(" has ")
    colour = COLOURS[(yield _pick(COLOURS))]
    yield _say(" ")
    thing = things[(yield _pick(things))]
    yield _say(".")
    stage.colour[thing], stage.holder[thing] = colour, person
    stage.chinese.append(f"{person[1]}有一个{colour[1]}的{thing[1]}。")


def _habits(stage: _Stage) -> Program:
    """... is a baker and eats soup. (The name is already written.)"""
    yield _say(" is ")
    stage.job = JOBS[(yield _pick(JOBS))]
    yield _say(" and eats ")
    stage.food = FOODS[(yield _pick(FOODS))]
    yield _say(".")
    stage.chinese.append(f"{stage.hero[1]}是{stage.job[1]}，吃{stage.food[1]}。")


def _event(stage: _Stage) -> Program:
    """The hero gives or loses a thing, counts animals, or walks away."""
    yield _say(" ")
    when = THEN[(yield _pick(THEN))]
    yield _say(" ")
    yield _recall(stage.hero[0])
    verbs = [" walks"]
    if stage.counted is None:
        verbs.append(" counts")
    if stage.own_things():
        verbs += [f" {word[0]}" for word in GIVES + LOSES]
    verb = verbs[(yield Choice(tuple(verbs), "free", symmetric=False))].strip()
    stage.chinese.append(f"{when[1]}{stage.hero[1]}")
    if verb == "walks":
        yield from _walk(stage)
    elif verb == "counts":
        yield from _count(stage)
    else:
        yield from _give_or_lose(stage, verb)


def _walk(stage: _Stage) -> Program:
    """... walks to the harbour."""
    yield _say(" to the ")
    places = _without(PLACES, stage.place)
    stage.place = places[(yield _pick(places))]
    yield _say(".")
    stage.chinese.append(f"走到{stage.place[1]}。")


def _count(stage: _Stage) -> Program:
    """... counts four ducks: one two three four. She is proud."""
    yield _say(" ")
    many = NUMBERS[1:]
    number = many[(yield _pick(many))]
    yield _say(" ")
    animal = ANIMALS[(yield _pick(ANIMALS))]
    yield _say(":")
    upto = NUMBERS[: NUMBERS.index(number) + 1]
    for word in upto:
        yield _recall(f" {word[0]}")
    yield _recall(".")
    stage.counted = (number, animal)
    stage.chinese.append(f"数{number[1]}只{animal[1]}：{''.join(word[1] for word in upto)}。")
    yield from _feel(stage, "proud")


def _give_or_lose(stage: _Stage, verb: str) -> Program:
    """... gives her kite to Tom. She is glad. / ... loses her kite. She is sad."""
    yield _recall(f" {stage.possessive}")
    (thing,) = stage.own_things()
    yield _recall(f" {thing[0]}")
    if verb in dict(GIVES):
        yield _say(" to ")
        yield _recall(stage.friend[0])
        yield _say(".")
        stage.holder[thing] = stage.friend
        stage.chinese.append(f"把{thing[1]}{dict(GIVES)[verb]}{stage.friend[1]}。")
        yield from _feel(stage, "happy")
    else:
        yield _say(".")
        stage.holder[thing] = None
        stage.chinese.append(f"把{thing[1]}{dict(LOSES)[verb]}了。")
        yield from _feel(stage, "sad")


def _feel(stage: _Stage, mood: str) -> Program:
    """She is proud."""
    english, chinese = stage.pronoun
    yield _recall(f" {english}")
    yield _say(" is ")
    stage.feels = MOODS[mood][(yield _pick(MOODS[mood]))]
    stage.mood = mood
    yield _say(".")
    stage.chinese.append(f"{chinese}很{stage.feels[1]}。")


def _questions(stage: _Stage, n: int) -> Program:
    """Who has the kite? Tom has it. What does Mia eat? She eats soup."""
    pool = _askable(stage)
    for _ in range(n):
        asked = yield Choice(tuple(f" {question}" for question, _ in pool), "context")
        for part in pool.pop(asked)[1]:  # a list cannot be sent to: no `yield from`  # noqa: UP028
            yield part


def _askable(stage: _Stage) -> list[tuple[str, list[Choice]]]:
    """Every question that the scene can answer, and the answer as choices."""

    def answer(before: str, known: str, after: str = ".") -> list[Choice]:
        return [_say(before), _recall(known), _say(after)]

    hero, pronoun = stage.hero[0], _recall(f" {stage.pronoun[0]}")
    pool = [
        ("Which day is it?", answer(" It is ", stage.day[0])),
        (f"Where is {hero}?", answer(" In the ", stage.place[0])),
        (f"What is {hero}?", [pronoun, *answer(" is ", stage.job[0])]),
        (f"What does {hero} eat?", [pronoun, *answer(" eats ", stage.food[0])]),
    ]
    for thing, holder in stage.holder.items():
        who = "Nobody" if holder is None else holder[0]
        pool.append((f"Who has the {thing[0]}?", answer(" ", who, " has it.")))
        colour = _noun(stage.colour[thing])
        pool.append((f"What colour is the {thing[0]}?", answer(" It is ", colour)))
    if stage.counted:
        number, animal = stage.counted
        pool.append((f"How many {animal[0]} are there?", answer(" There are ", number[0])))
    if stage.feels:
        pool.append((f"How is {hero}?", [pronoun, *answer(" is ", stage.feels[0])]))
    return pool


def little_world() -> World:
    """The course's corpus: somebody, a friend and a thing, what happens, and four questions."""
    return World("Little World", _little_scene)


# ---- the tiny world ----------------------------------------------------------------------------


def _tiny_scene() -> Program:
    """Mia kite, Tom drum, Ann ball; Tom drum, Ann ball, Ann ball, Mia kite.

    Three pairs are stated, then recalled in any order: whoever has read a name knows the thing.
    """
    pairs = []
    for n, people in enumerate((SHE[:4], HE[:4], SHE[4:6] + HE[4:6])):
        if n:
            yield _say(", ")
        person = people[(yield _pick(people))]
        yield _say(" ")
        thing = THINGS[:8][(yield _pick(THINGS[:8]))]
        pairs.append((person, thing))
    for separator in ("; ", ", ", ", ", ", ", ", ", ", "):
        yield _say(separator)
        person, thing = pairs[(yield Choice(tuple(p[0] for p, _ in pairs), "context"))]
        yield _recall(f" {thing[0]}")
    yield _say(".\n")
    chinese = "，".join(f"{person[1]}{thing[1]}" for person, thing in pairs)
    return Story(chinese + "。\n", "quiet")


def tiny_world() -> World:
    """Twelve names, eight things, pairs side by side: the smallest task that needs attention.

    The choices are independent: each pair has four names of its own, and things may repeat.
    """
    return World("the tiny world", _tiny_scene)
