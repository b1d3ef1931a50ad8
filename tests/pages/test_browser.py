"""Pages in a browser, with no network: steps, keys, width, contrast. Skipped where there is none.

``./scripts/browser`` installs Debian's Chromium, which CI does.
"""

import re
import shutil

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

import pullback as pb

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no chromium here: ./scripts/browser installs it"
)


def loss(W1, b1, W2, b2, x, y):
    z1 = W1 @ x + b1
    a1 = np.tanh(z1)
    z2 = W2 @ a1 + b2
    yhat = 1 / (1 + np.exp(-z2))
    L = 0.5 * np.sum((yhat - y) ** 2)
    return L  # noqa: RET504 (the name is what the table shows)


@pytest.fixture(scope="module")
def report():
    rng = np.random.default_rng(0)
    args = [rng.normal(size=s) for s in ((4, 3), 4, (2, 4), 2, 3, 2)]
    return pb.explain(loss, *args, argnums=(0, 1, 2, 3))


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("headless", "no-sandbox", "disable-gpu", "disable-background-networking"):
        options.add_argument(f"--{argument}")
    options.add_argument("--no-first-run")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser, report, tmp_path):
    browser.get(report.save(tmp_path / "graph.html").as_uri())
    return browser


def shown(page):
    return page.find_element(By.CSS_SELECTOR, ".panel h3").text


def press(page, text):
    page.find_element(By.XPATH, f"//button[text()='{text}']").click()


def test_it_opens_from_the_disk_without_a_word_and_without_a_network(page):
    assert page.get_log("browser") == []
    requests = [entry["message"] for entry in page.get_log("performance")]
    asked = [m for m in requests if '"Network.requestWillBeSent"' in m]
    addresses = [re.search(r'"request":\{.*?"url":"([^"]+)"', m)[1] for m in asked]
    assert [a for a in addresses if a.startswith(("http", "ws", "ftp"))] == []


def test_the_steps_are_those_of_the_report(page, report):
    expected = [f"{s['name']} = {s['formula']}" for s in report.to_json()["steps"]]
    seen = [shown(page)]
    for _ in expected[1:]:
        press(page, "Next")
        seen.append(shown(page))
    assert seen == expected
    press(page, "Next")
    assert shown(page) == expected[-1]
    press(page, "First")
    assert shown(page) == expected[0]


def test_a_step_back_shows_what_it_reads_and_a_tick(page):
    press(page, "Last")
    press(page, "Back")
    text = page.find_element(By.CSS_SELECTOR, ".panel").text
    assert "outer(dL/dz1, x)" in text
    assert "✓ agrees" in text
    now = page.find_element(By.CSS_SELECTOR, ".node.now").get_attribute("data-name")
    read = {n.get_attribute("data-name") for n in page.find_elements(By.CSS_SELECTOR, ".node.read")}
    assert now == "W1"
    assert "x" in read
    assert page.find_element(By.CSS_SELECTOR, "tr.now th").text == "dL/dW1"


def test_the_keyboard_alone_walks_the_graph(page):
    stops = page.find_elements(By.CSS_SELECTOR, '.node[tabindex="0"]')
    assert len(stops) == 1
    page.execute_script("arguments[0].focus()", stops[0])

    def key(which):
        page.switch_to.active_element.send_keys(which)
        return page.switch_to.active_element.get_attribute("data-name")

    assert key(Keys.END) == "L"
    assert key(Keys.ARROW_UP) == "yhat"
    assert key(Keys.ARROW_UP) == "z2"
    assert key(Keys.ARROW_DOWN) == "yhat"
    key(Keys.ENTER)
    assert shown(page).startswith("yhat =")
    assert key(Keys.HOME) == "W1"
    key(Keys.ESCAPE)
    assert page.switch_to.active_element.tag_name == "button"


def test_a_screen_reader_is_told_each_step_once(page):
    live = page.find_elements(By.CSS_SELECTOR, "[aria-live]")
    assert [e.get_attribute("aria-live") for e in live] == ["polite"]
    press(page, "Next")
    said = live[0].get_attribute("textContent")
    assert said == "forward 2 of 5. a1 equals tanh(z1)."
    slider = page.find_element(By.CSS_SELECTOR, "input[type=range]")
    assert slider.get_attribute("aria-valuetext") == "forward 2 of 5: a1"
    for element in page.find_elements(By.CSS_SELECTOR, "button, input, .node, [role=group]"):
        assert element.accessible_name, element.get_attribute("outerHTML")[:80]


@pytest.mark.parametrize("width", [360, 1440])
def test_nothing_sticks_out(page, width):
    page.set_window_size(width, 900)
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    inner, whole = page.execute_script(
        "return [window.innerWidth, document.documentElement.scrollWidth]"
    )
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert whole <= inner == width


def luminance(color):
    parts = np.array([float(c) for c in re.findall(r"[\d.]+", color)[:3]]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_the_contrast_of_wcag(page, scheme):
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    press(page, "Last")
    colours = page.execute_script(
        """const style = getComputedStyle, q = (s) => document.querySelector(s);
        const text = style(document.body).color, ground = style(document.body).backgroundColor;
        return [[text, ground], [style(q('figcaption, caption')).color, ground],
          [style(q('nav a')).color, ground],
          [style(q('button')).color, style(q('button')).backgroundColor],
          [style(q('.panel dt')).color, style(q('.panel')).backgroundColor],
          ...['.node.forward', '.node.backward', '.node.input'].map((s) =>
            [style(q(s + ' text')).fill, style(q(s + ' rect')).fill])]"""
    )
    for front, back in colours:
        light, dark = sorted((luminance(front), luminance(back)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (front, back)
