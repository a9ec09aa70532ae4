//! What goes out to the gateways of a fleet: asked of the control plane over its socket.

mod approve;
mod arguments;
mod publish;
mod show;
mod take_back;

pub(crate) use approve::run as approve;
pub(crate) use arguments::{
    PolicyApproveArguments, PolicyHaltArguments, PolicyPublishArguments, PolicyRollbackArguments,
    RolloutArguments,
};
pub(crate) use publish::{plan, publish};
pub(crate) use show::{drift, history, status};
pub(crate) use take_back::{halt, rollback};
