"""The training loops of twofold's own tasks, with native kernels and with XLA alone."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp

from twofold.data import uea
from twofold.tasks import classification
from twofold.tasks.students import teacher_student
from twofold.tasks.students.ways import AdamW

from .training_steps import Loop, Training

GROUP = "Training loops of tasks"


def trainings(quick: bool) -> Iterator[Training]:
    way = AdamW(steps=1_000_000)
    size = 20 if quick else 100
    recipe = teacher_student.Recipe(hidden_size=size, gate_size=size, way=way)
    keys = jax.random.split(jax.random.key(0), 3)
    teacher = recipe.teacher(keys[0])
    student = Loop(lambda model, key: recipe.loss(model, teacher, key), recipe.student(keys[1]), way.optimiser())
    yield Training(GROUP, f"teacher and student, {recipe.hidden_size} neurons", student, {})
    data = uea.load_labelled("JapaneseVowels")
    train = jax.tree.map(jnp.asarray, data.train)
    for mixer in ("aaren",) if quick else ("aaren", "linear-attention", "gated-rnn", "lru", "lstm", "gru"):
        settings = classification.Classification(mixer=mixer)

        def loss(model, key, settings=settings):
            return settings.loss(model, train, key)

        loop = Loop(loss, settings.model(data, keys[2]), settings.optimiser())
        yield Training(GROUP, f"classification, {mixer}", loop, {})
