//! Sentences about who votes, and in which terms.

use super::Speaker;
use crate::node::event::Voting;

const VOTERS_IN_DOUBT: &str = "the voters (cluster.nodes, authority, [witness]) are in doubt, because they have changed since \
                               this node left or others contradict it: it takes nothing over and gives no vote before every \
                               other node counts the same ones, or an operator says `avamgr voters confirm`";

impl Speaker<'_> {
    pub(super) fn voting(&self, voting: &Voting) -> String {
        match voting {
            Voting::OtherVoters { peer } => format!(
                "{} counts other voters than this node, so neither votes for the other: make cluster.nodes, authority and \
                 [witness] equal and restart the daemon that has the old ones",
                self.node(*peer)
            ),
            Voting::SameVoters { peer } => format!("that {} may count other voters is over", self.node(*peer)),
            Voting::VotersDoubted => VOTERS_IN_DOUBT.to_owned(),
            Voting::VotersSettled => "the voters of this config count".to_owned(),
            Voting::TermFromFuture { group, voter, term, ours } => {
                let (group, voter) = (self.group(*group), self.node(*voter));
                format!(
                    "{group}: {voter} speaks of term {term}, this node of {ours}: no number of takeovers leads there, it is \
                     not believed (a node whose state was damaged: `avamgr term reset {group}` there; the witness: restart it)"
                )
            }
            Voting::TermPlausible { group, voter } => {
                format!("{}: the term that {} speaks of is believed again", self.group(*group), self.node(*voter))
            }
            Voting::TermReset { group, from, to } => {
                format!("{}: an operator brought this node's term back from {from} to {to}", self.group(*group))
            }
        }
    }
}
