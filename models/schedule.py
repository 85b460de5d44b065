"""Noise schedules: what alpha, sigma and the forward SDE are at a time t.

Every schedule defines the Gaussian path x_t = alpha_t x_0 + sigma_t eps, eps ~ N(0, I), on t in [0, 1], where t = 0 is
clean data. The same path is the solution of the forward SDE dx = f(t) x dt + g(t) dw with f = d log alpha / dt and
g^2 = d sigma^2 / dt - 2 f sigma^2 (Kingma et al., arXiv 2107.00630, section 2). All arithmetic is in Python floats
(float64): a sampler's coefficients are then exact, add no kernel and never synchronise a device.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Level(NamedTuple):
    """One noise level of a schedule.

    Attributes:
        t: time in [0, 1]; 0 is clean data.
        alpha: signal coefficient in [0, 1].
        sigma: noise coefficient, >= 0; exactly 0.0 at the clean level.
        drift: f(t) of the forward SDE dx = f x dt + g dw, per unit of t.
        diffusion2: g(t)^2 of the forward SDE, per unit of t.
    """

    t: float
    alpha: float
    sigma: float
    drift: float
    diffusion2: float

    @property
    def is_clean(self) -> bool:
        """Whether this is the data itself, without noise."""
        return self.sigma == 0.0

    @property
    def ratio(self) -> float:
        """rho = sigma / alpha, the noise level of the scaled state x / alpha; EDM's sigma."""
        return self.sigma / self.alpha if self.alpha > 0.0 else math.inf

    @property
    def logsnr(self) -> float:
        """lambda = log(alpha / sigma), half the logarithm of the signal-to-noise ratio; +inf at the clean level."""
        if self.sigma == 0.0:
            return math.inf
        return math.log(self.alpha / self.sigma) if self.alpha > 0.0 else -math.inf


class Schedule(ABC):
    """A noise schedule on t in [0, 1].

    Attributes:
        t_min: the lowest noisy time that the schedule is meant to be evaluated at.
        t_max: the noisiest time that grids start from unless they are told another.
        train_steps: T of a network trained on T discrete levels, index n lying at t = (n + 1) / T; None if trained on
            continuous time.
    """

    t_min: float
    t_max: float = 1.0
    train_steps: int | None = None

    @abstractmethod
    def level(self, t: float) -> Level:
        """The level at time t in [0, 1]; ValueError outside."""

    @abstractmethod
    def t_at(self, logsnr: float) -> float:
        """The time at which log(alpha / sigma) equals logsnr; the inverse of `level(t).logsnr`."""

    def at_logsnr(self, logsnr: float) -> Level:
        """The level with log(alpha / sigma) = logsnr, or the noisiest level if logsnr lies below it."""
        return self.level(min(self.t_at(logsnr), 1.0))

    def at_ratio(self, rho: float) -> Level:
        """The level with sigma / alpha = rho > 0, or the noisiest level if rho lies above it."""
        return self.at_logsnr(-math.log(rho))

    @abstractmethod
    def prior_std(self, level: Level) -> float:
        """Standard deviation of the noise that sampling starts from at this level."""

    def nearest(self, t: float) -> float:
        """The trained time nearest to t (halves to even, as numpy.round), or t itself in continuous time."""
        if self.train_steps is None:
            return t
        return round(round(t * self.train_steps, 9)) / self.train_steps  # a half that is off by round-off is a half


def _check_time(t: float) -> None:
    if not 0.0 <= t <= 1.0:
        raise ValueError(f"time t = {t!r} lies outside [0, 1]; 0 is clean data and 1 the noisiest level")


class _VP(Schedule):
    """What all variance-preserving schedules share: sigma^2 = 1 - alpha^2."""

    @abstractmethod
    def log_alpha(self, t: float) -> float: ...

    @abstractmethod
    def log_alpha_rate(self, t: float) -> float:
        """d log alpha / dt, towards lower t where the two sides differ."""

    @abstractmethod
    def t_at_log_alpha(self, log_alpha: float) -> float: ...

    def level(self, t: float) -> Level:
        _check_time(t)
        log_alpha = self.log_alpha(t)
        rate = self.log_alpha_rate(t)
        # expm1 keeps the digits of 1 - alpha^2 near t = 0; abs turns its -0.0 at t = 0 into 0.0
        sigma = math.sqrt(abs(math.expm1(2.0 * log_alpha)))
        return Level(t, math.exp(log_alpha), sigma, drift=rate, diffusion2=-2.0 * rate)

    def t_at(self, logsnr: float) -> float:
        # alpha^2 = sigmoid(2 lambda), so log alpha = -log(1 + exp(-2 lambda)) / 2, written so that nothing overflows
        log_alpha = -0.5 * float(np.logaddexp(0.0, -2.0 * logsnr))
        return self.t_at_log_alpha(log_alpha)

    def prior_std(self, level: Level) -> float:
        return 1.0


class DiscreteVP(_VP):
    """DDPM's discrete schedule (arXiv 2006.11239): alpha_n^2 = prod_{i <= n} (1 - beta_i), n = 0 ... T - 1.

    Index n lies at t = (n + 1) / T. Between indices log alpha is interpolated linearly, so that the SDE has a constant
    rate there; at an index the rate is that of the interval below it, the one that a reverse step crosses.
    """

    def __init__(self, betas: Sequence[float] | np.ndarray) -> None:
        beta = np.asarray(betas, dtype=np.float64)
        if beta.ndim != 1 or beta.size == 0 or not np.all((beta > 0.0) & (beta < 1.0)):
            raise ValueError(
                "betas must be a one-dimensional sequence of numbers strictly between 0 and 1 "
                f"(a terminal SNR of exactly zero is not supported), got {betas!r}"
            )
        self.train_steps: int = beta.size
        self.t_min = 1.0 / beta.size
        self._log_alpha = np.concatenate([[0.0], 0.5 * np.cumsum(np.log1p(-beta))])
        self._t = np.arange(beta.size + 1) / beta.size

    @classmethod
    def linear(cls, train_steps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02) -> "DiscreteVP":
        """beta linear in the index (DDPM, section 4)."""
        return cls(np.linspace(beta_start, beta_end, train_steps))

    @classmethod
    def scaled_linear(
        cls, train_steps: int = 1000, beta_start: float = 8.5e-4, beta_end: float = 0.012
    ) -> "DiscreteVP":
        """sqrt(beta) linear in the index (latent diffusion, arXiv 2112.10752)."""
        return cls(np.linspace(beta_start**0.5, beta_end**0.5, train_steps) ** 2)

    @classmethod
    def cosine(cls, train_steps: int = 1000, offset: float = 0.008, max_beta: float = 0.999) -> "DiscreteVP":
        """alpha^2 = cos^2(pi/2 (t + s)/(1 + s)), betas cut at max_beta (arXiv 2102.09672, eq. 17)."""
        edges = np.cos((np.arange(train_steps + 1) / train_steps + offset) / (1 + offset) * np.pi / 2) ** 2
        return cls(np.minimum(1.0 - edges[1:] / edges[:-1], max_beta))

    @classmethod
    def from_alphas_cumprod(cls, alphas_cumprod: Sequence[float] | np.ndarray) -> "DiscreteVP":
        """From alpha_n^2 (diffusers' `alphas_cumprod`), which must fall strictly from below 1 to above 0."""
        alphas = np.concatenate([[1.0], np.asarray(alphas_cumprod, dtype=np.float64)])
        return cls(1.0 - alphas[1:] / alphas[:-1])

    def index(self, t: float) -> float:
        """The (fractional) index that a network trained on T levels is given at time t."""
        return t * self.train_steps - 1.0

    def nearest_index(self, t: float) -> int:
        """The index of the trained level nearest to time t > 0 (halves to even), for networks that know no others."""
        return max(0, round(self.index(self.nearest(t))))

    def log_alpha(self, t: float) -> float:
        return float(np.interp(t, self._t, self._log_alpha))

    def log_alpha_rate(self, t: float) -> float:
        # 1e-9 of an index: t = (n + 1) / T may come back from arithmetic as a hair above the index
        n = min(max(math.ceil(t * self.train_steps - 1e-9), 1), self.train_steps)
        return float(self._log_alpha[n] - self._log_alpha[n - 1]) * self.train_steps

    def t_at_log_alpha(self, log_alpha: float) -> float:
        return float(np.interp(-log_alpha, -self._log_alpha, self._t))


class ContinuousVP(_VP):
    """Score SDE's VP schedule (arXiv 2011.13456, eq. 33): beta(t) = beta_min + t (beta_max - beta_min)."""

    def __init__(self, beta_min: float = 0.1, beta_max: float = 20.0, t_min: float = 1e-3) -> None:
        if not 0.0 < beta_min < beta_max:
            raise ValueError(f"expected 0 < beta_min < beta_max, got beta_min={beta_min!r}, beta_max={beta_max!r}")
        self.beta_min, self.beta_max, self.t_min = beta_min, beta_max, t_min

    def log_alpha(self, t: float) -> float:
        return -0.25 * t * t * (self.beta_max - self.beta_min) - 0.5 * t * self.beta_min

    def log_alpha_rate(self, t: float) -> float:
        return -0.5 * (self.beta_min + t * (self.beta_max - self.beta_min))

    def t_at_log_alpha(self, log_alpha: float) -> float:
        # the positive root of (slope / 4) t^2 + (beta_min / 2) t + log_alpha = 0, in the form without cancellation
        slope = self.beta_max - self.beta_min
        root = math.sqrt(self.beta_min**2 - 4.0 * slope * log_alpha)
        return -4.0 * log_alpha / (self.beta_min + root)


def _check_sigmas(sigma_min: float, sigma_max: float) -> None:
    if not 0.0 < sigma_min < sigma_max:
        raise ValueError(f"expected 0 < sigma_min < sigma_max, got sigma_min={sigma_min!r}, sigma_max={sigma_max!r}")


class VE(Schedule):
    """EDM's variance-exploding schedule (arXiv 2206.00364): alpha = 1, sigma = sigma_max t."""

    def __init__(self, sigma_min: float = 0.002, sigma_max: float = 80.0) -> None:
        _check_sigmas(sigma_min, sigma_max)
        self.sigma_max = sigma_max
        self.t_min = sigma_min / sigma_max

    def level(self, t: float) -> Level:
        _check_time(t)
        return Level(t, 1.0, self.sigma_max * t, drift=0.0, diffusion2=2.0 * self.sigma_max**2 * t)

    def t_at(self, logsnr: float) -> float:
        return math.exp(-logsnr) / self.sigma_max

    def prior_std(self, level: Level) -> float:
        return level.sigma


class GeometricVE(Schedule):
    """Score SDE's variance-exploding schedule (arXiv 2011.13456, eq. 30): sigma = sigma_min (sigma_max / sigma_min)^t.

    That has sigma_min left at t = 0. Here it holds from t_min on, the authors' epsilon of 1e-5; below, sigma falls to 0
    in proportion to t, so that t = 0 is clean data and every method ends there.
    """

    def __init__(self, sigma_min: float = 0.01, sigma_max: float = 50.0, t_min: float = 1e-5) -> None:
        _check_sigmas(sigma_min, sigma_max)
        self.sigma_min, self.sigma_max, self.t_min = sigma_min, sigma_max, t_min
        self._log_ratio = math.log(sigma_max / sigma_min)

    def level(self, t: float) -> Level:
        _check_time(t)
        if t > self.t_min:
            sigma = self.sigma_min * math.exp(self._log_ratio * t)
            return Level(t, 1.0, sigma, drift=0.0, diffusion2=2.0 * self._log_ratio * sigma**2)
        slope = self._lowest / self.t_min
        return Level(t, 1.0, slope * t, drift=0.0, diffusion2=2.0 * slope**2 * t)

    def t_at(self, logsnr: float) -> float:
        sigma = math.exp(-logsnr)
        if sigma <= self._lowest:
            return self.t_min * sigma / self._lowest
        return math.log(sigma / self.sigma_min) / self._log_ratio

    @property
    def _lowest(self) -> float:
        """sigma at t_min."""
        return self.sigma_min * math.exp(self._log_ratio * self.t_min)

    def prior_std(self, level: Level) -> float:
        return level.sigma


class Flow(Schedule):
    """Rectified flow's straight path (arXiv 2209.03003): alpha = 1 - t, sigma = t.

    At t = 1 alpha is 0, where f = -inf, g^2 = inf and log(alpha / sigma) = -inf: only methods that step by x_0 and eps
    can start there (`Sampler.starts_at_noise`), so grids start at t_max unless they are told `t_start=1`. At the
    default of 0.99 sigma / alpha is 99, between EDM's 80 and the 157 of DDPM's betas. On two exact mixtures in 64
    dimensions that moves the exact solution by 0.002 (RMS), and the law's distance by nothing that 4,000 samples show,
    while solvers of 10 to 20 evaluations lose more the nearer to 1 they start: Heun's error of 10 trailing steps is
    0.11 on the digits' mixture from 0.99, 0.17 from 0.995 and 0.59 from 0.999.
    """

    def __init__(self, t_min: float = 1e-3, t_max: float = 0.99) -> None:
        if not 0.0 < t_min < t_max <= 1.0:
            raise ValueError(f"expected 0 < t_min < t_max <= 1, got t_min={t_min!r}, t_max={t_max!r}")
        self.t_min, self.t_max = t_min, t_max

    def level(self, t: float) -> Level:
        _check_time(t)
        if t == 1.0:
            return Level(1.0, 0.0, 1.0, drift=-math.inf, diffusion2=math.inf)
        return Level(t, 1.0 - t, t, drift=-1.0 / (1.0 - t), diffusion2=2.0 * t / (1.0 - t))

    def t_at(self, logsnr: float) -> float:
        return math.exp(-float(np.logaddexp(0.0, logsnr)))

    def prior_std(self, level: Level) -> float:
        return level.sigma


def transition(s: Level, t: Level) -> tuple[float, float]:
    """The forward transition from s to a noisier t, q(x_t | x_s) = N(ratio x_s, variance I): (ratio, variance).

    ratio = alpha_t / alpha_s and variance = sigma_t^2 - ratio^2 sigma_s^2 (arXiv 2107.00630, appendix A.1); for a VP
    schedule the variance is the respaced beta, 1 - ratio^2.
    """
    ratio = t.alpha / s.alpha
    return ratio, t.sigma**2 - ratio**2 * s.sigma**2
