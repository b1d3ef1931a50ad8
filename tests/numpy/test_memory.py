"""View, copy or scalar, and in which order: every function against NumPy, for four layouts.

The answers of NumPy come from running it on plain arrays; of a traced result it is tried out
whether a write reaches the argument.
"""

import warnings
from typing import Any

import numpy as np
import pytest

import pullback as pb
import pullback.numpy as pnp
from pullback.core.alias import is_scalar, memory
from pullback.core.array import Array
from pullback.core.types import type_of
from pullback.transforms.stage import stage

BASE = np.array([[1.5, 2.0, 3.0], [4.0, 5.0, 7.0]])
LAYOUTS = {
    "C": lambda: BASE.copy(),
    "F": lambda: np.asfortranarray(BASE),
    "strided": lambda: np.repeat(BASE, 2, axis=1)[:, ::2],
    "backwards": lambda: BASE[::-1].copy()[::-1],
}
CALLS = [
    line
    for line in """
np.clip(x,1,4)
np.sort(x,0)
np.sort(x,1)
np.take(x,[0,1],1)
np.take(x,[0,1],0)
x[[1,0]]
x[:,[0,1]]
x[...,[0,1]]
x[[0,1],[1,0]]
np.roll(x,1,0)
np.roll(x,1)
np.repeat(x,2,0)
np.repeat(x,2,1)
np.tile(x,2)
np.tile(x,(2,1))
np.stack([x,x],0)
np.stack([x,x],1)
np.stack([x,x],-1)
np.concatenate([x,x],0)
np.concatenate([x,x],1)
np.where(x>1,x,0.)
np.astype(x,np.float32)
x.astype(float,order='C')
x.astype(float,order='F')
x.copy()
x.copy('K')
x.copy('F')
np.copy(x)
np.copy(x,'C')
np.array(x)
np.array(x,order='F')
np.array(x,order='C')
np.asarray(x)
np.asarray(x,order='F')
np.asarray(x,order='C')
np.ascontiguousarray(x)
np.asfortranarray(x)
np.zeros_like(x)
np.ones_like(x)
np.full_like(x,2.)
np.zeros_like(x,order='C')
np.zeros((2,3),order='F')
np.ones((2,3),order='F')
np.full((2,3),x[0,0],order='F')
np.cumsum(x,0)
np.cumsum(x,1)
np.cumprod(x,0)
np.sum(x,0,keepdims=True)
np.sum(x[None]*1,0)
np.mean(x,0,keepdims=True)
np.var(x[None]+0,0)
np.max(x[None]+0,0)
np.diff(x,axis=0)
np.gradient(x,axis=0)
np.tril(x)
np.triu(x)
np.pad(x,1)
np.outer(x,x)
np.kron(x,x)
np.dot(x,x.T)
np.matmul(x,x.T)
np.tensordot(x,x,0)
np.einsum('ij,kj->ik',x,x)
np.einsum('ij->ji',x)
np.einsum('ij,ij->ij',x,x)
np.einsum('ij->ij',x)
np.einsum('ijj->ij',np.ones((2,3,3))*x[0,0])
np.nan_to_num(x)
np.real(x)
np.imag(x)
x.real
x.imag
np.conj(x)
x.conj()
x.conjugate()
np.positive(x)
np.round(x)
np.fix(x)
np.abs(x)
np.square(x)
np.sinc(x)
np.logaddexp(x,x)
np.hypot(x,x)
np.power(x,3)
np.fmax(x,2)
np.maximum(x,2)
np.reciprocal(x)
np.degrees(x)
np.copysign(x,-1)
np.heaviside(x,0.)
np.flip(x)
np.flip(x,0)
np.fliplr(x)
np.flipud(x)
np.rot90(x)
np.rot90(x,2)
np.rot90(x,0)
np.transpose(x)
np.swapaxes(x,0,1)
np.swapaxes(x,0,0)
np.moveaxis(x,0,1)
np.rollaxis(x,1)
np.atleast_1d(x)
np.atleast_2d(x)
np.atleast_3d(x)
np.expand_dims(x,0)
np.squeeze(x[None])
np.squeeze(x[:1,:1])
np.broadcast_to(x,(2,2,3))
np.broadcast_to(x,(2,3))
np.broadcast_arrays(x,x)[0]
np.diagonal(x)
np.diag(x)
np.diag(x[0])
np.diagflat(x)
np.linalg.diagonal(x)
np.split(x,[1])[0]
np.array_split(x,2)[0]
np.hsplit(x,[1])[0]
np.vsplit(x,2)[0]
np.unstack(x)[0]
np.meshgrid(x[0],x[1])[0]
np.meshgrid(x[0],x[1],indexing='ij')[0]
np.meshgrid(x[0],x[1],sparse=True)[0]
np.append(x,x)
np.append(x,x,0)
np.resize(x,(3,2))
np.delete(x,0,0)
np.delete(x,0,1)
np.insert(x,0,1.,0)
np.insert(x,0,1.,1)
np.block([[x,x]])
np.hstack([x,x])
np.vstack([x,x])
np.dstack([x,x])
np.column_stack([x,x])
np.unique(x)
np.compress([True,False],x,0)
np.compress([True,False],x,1)
np.extract(x>1,x)
x[x>1]
x[x[:,0]>-9]
np.take_along_axis(x,np.argsort(x,0),0)
np.take_along_axis(x,np.argsort(x,1),1)
np.partition(x,1,0)
np.choose([[0,1,0]],x)
np.select([x>1],[x],0.)
np.piecewise(x,[x>1],[lambda v:v,0.])
np.quantile(x,[.2,.5],0)
np.quantile(x,.5,0,keepdims=True)
np.median(x,0,keepdims=True)
np.average(x[None]+0,0)
np.interp(x,[0.,5.],[1.,2.])
np.polyval([1.,2.],x)
np.vander(x[0])
np.cov(x)
np.corrcoef(x)
np.convolve(x[0],x[1])
np.unwrap(x)
np.trapezoid(x[None]+0,axis=0)
np.apply_over_axes(np.sum,x,0)
np.linalg.norm(x[None]+0,axis=0)
np.linalg.inv(x[:,:2])
np.linalg.solve(x[:,:2],x[:,:2])
np.linalg.cholesky(x[:,:2]@x[:,:2].T+np.eye(2))
np.linalg.det(x[:,:2])
np.cross(x,x)
np.asanyarray(x)
np.array(x,copy=None)
np.array(x,ndmin=3)
np.array(x,ndmin=3,copy=None)
np.array([x,x])
np.real_if_close(x)
np.ravel(x)
np.ravel(x,'F')
np.ravel(x,'K')
np.ravel(x,'A')
np.reshape(x,(3,2))
np.reshape(x,(3,2),order='F')
np.reshape(x,(3,2),order='A')
np.reshape(x,(2,3))
x.ravel()
x.flatten()
x.T
x.mT
x[0]
x[...]
x[()]
x[0,0]
x[...,0,0]
x[None]
x[:,None]
x.squeeze()
x.reshape(-1)
x.swapaxes(0,1)
x.diagonal()
x.repeat(2)
x.take([0])
x.compress([True],axis=0)
x.round()
x.clip(0,3)
x.sum()
x.sum(0)
np.sum(x)
np.mean(x)
np.std(x)
np.prod(x)
np.max(x)
np.ptp(x)
np.median(x)
np.quantile(x,.5)
np.trace(x)
np.vdot(x,x)
np.inner(x,x)
np.linalg.norm(x)
np.trapezoid(x[0])
np.einsum('ij->',x)
np.where(x[0,0]>0,x[0,0],0.)
np.clip(x[0,0],0,1)
np.dot(x[0],x[0])
np.squeeze(x[0,0])
np.copy(x[0,0])
np.array(x[0,0])
np.asarray(x[0,0])
np.cumsum(x[0,0])
np.ravel(x[0,0])
np.atleast_1d(x[0,0])
np.take(x,0)
np.real(x[0,0])
np.conj(x[0,0])
np.nan_to_num(x[0,0])
np.round(x[0,0])
np.broadcast_to(x[0,0],())
np.reshape(x[0,0],())
x[0,0].copy()
x[0,0].reshape(())
x[0,0][...]
x[0,0][()]
x[...,0,0][()]
x[...,0,0]+1
np.zeros(())+x[0,0]
np.zeros_like(x[0,0])
np.ones_like(x[...,0,0])
np.select([x[0,0]>0],[x[0,0]])
np.interp(x[0,0],[0.,1.],[1.,2.])
np.linalg.det(x[:,:2]+0)
np.linalg.slogdet(x[:,:2])[1]
np.trapezoid(x[0])
np.average(x)
np.cov(x[0])
np.polyval([1.,2.],x[0,0])
np.sinc(x[0,0])
np.fix(x[0,0])
x[np.array(0)]
x[0][np.array(0)]
x[[[0]],[[1]]]
x[0,[1]]
x[0,...]
x[0,1,...]
np.expand_dims(x[0,0],0)
np.tensordot(x,x,2)
np.vecdot(x,x)
np.matvec(x,x[0])
np.nansum(x,0)
np.nanmax(x)
np.nanmean(x)
np.tril(x[None]+0)
np.hsplit(x[0],3)[0]
np.permute_dims(x,(1,0))
np.concat([x,x])
np.divmod(x,2.)[0]
np.modf(x)[0]
np.ldexp(x,1)
np.cbrt(x)
np.exp2(x)
np.float_power(x,2)
np.fmod(x,2)
np.bincount([0,1],weights=x[0,:2])
np.ediff1d(x)
""".splitlines()
    if line
]


def described(plain: Any) -> str:
    """Shape and order of an array; axes of length one lie anywhere."""
    order = np.argsort([-abs(s) for s in plain.strides], kind="stable")
    order = [int(i) for i in order if plain.shape[i] > 1]
    dense = plain.flags.c_contiguous or plain.flags.f_contiguous
    return f"{plain.shape} {order} {'dense' if dense else 'not dense'}"


def of_numpy(call: str, x: np.ndarray) -> str:
    result = eval(call, {"np": np, "x": x})
    if isinstance(result, np.generic):
        return "scalar"
    if not result.flags.writeable:
        return described(result) + " read-only"
    return described(result) + (" shared" if np.shares_memory(result, x) else " own")


def of_traced(call: str, a: Any) -> str:
    before = a.frozen()
    result = eval(call, {"np": pnp, "x": a})
    if type(result) is not Array:
        return of_numpy("x", result).replace("shared", "own")
    if is_scalar(result):
        return "scalar"
    text = described(memory(result))
    try:
        result[...] = 77.0
    except ValueError:
        return text + " read-only"
    return text + (" shared" if changed(a, before) else " own")


def changed(a: Any, before: Any) -> bool:
    after = a.frozen()
    if after.traced_by.abstract:
        return after.aux is not before.aux
    return not np.array_equal(after.value, before.value)


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def eager(call: str, x: np.ndarray) -> str:
    found = []
    pb.grad(lambda a: (found.append(of_traced(call, a)), pnp.sum(a))[1])(x)
    return found[0]


def staged(call: str, x: np.ndarray) -> str:
    found = []
    try:
        stage(lambda a: (found.append(of_traced(call, a)), [a])[1], [type_of(x)], given=[x])
    except pb.errors.StagingError:
        return of_numpy(call, x)  # its shape depends on values
    return found[0]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("run", [eager, staged])
def test_results_lie_in_memory_as_numpys(layout: str, run: Any) -> None:
    different = {}
    for call in CALLS:
        expected, found = of_numpy(call, LAYOUTS[layout]()), run(call, LAYOUTS[layout]())
        if found != expected:
            different[call] = (expected, found)
    assert different == {}
