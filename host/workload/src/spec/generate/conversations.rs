//! Conversations over a set of prompts: whose turn has come again asks once more, when it is due and
//! the last answer is there.

use super::{Generator, Start, untag};
use crate::spec::deal::{Dealer, Hand};
use crate::spec::planned::{Planned, Prompt};
use windtunnel_base::request::{FinishReason, Finished, Request, RequestId, TokenSeq};
use windtunnel_base::rng;

impl Generator {
    /// The prompt of a conversation that a request belongs to.
    pub(super) fn hand_of(&self, client: u32, serial: u32) -> Option<Hand> {
        let dealer = self.dealers[client as usize].as_ref()?;
        let deal = self.clients[client as usize].kind.deal.as_ref()?;
        deal.conversations.then(|| dealer.hand(serial.into()))
    }

    /// The length of a prompt of a set, without its prefix.
    fn dealt_length(&self, client: u32, hand: Hand) -> u32 {
        let Planned { kind, key, .. } = &self.clients[client as usize];
        let number = u64::from(hand.prompt) << 32;
        let mut rng = rng::stream(self.bounds.seed, "input length", *key, number);
        match &kind.prompt {
            Prompt::Text(lengths) => lengths.sample(&mut rng),
            Prompt::Multimodal(_) => 0,
        }
    }

    /// A later round of a conversation waits for the answer before it: here it is only noted.
    pub(super) fn puts_off(&mut self, client: u32, at_us: i64) -> bool {
        let serial = self.started[client as usize];
        let conversations = self.hand_of(client, serial).is_some();
        let later = |dealer: &&mut Dealer| conversations && serial >= dealer.prompts();
        if self.dealers[client as usize]
            .as_mut()
            .filter(later)
            .is_none()
        {
            return false;
        }
        if self.take(1) == 1
            && let Some(dealer) = &mut self.dealers[client as usize]
        {
            dealer.put_off(serial.into(), at_us);
            self.started[client as usize] = serial.saturating_add(1);
        }
        true
    }

    /// The next round of a conversation: when it is due, but not before the answer.
    pub(super) fn next_in_conversation(&mut self, finished: &Finished<'_>) -> Option<Request> {
        let before = finished.request;
        let (client, serial) = untag(before.source_tag);
        let hand = self.hand_of(client, serial)?;
        let due_us = loop {
            let dealer = self.dealers[client as usize].as_mut()?;
            if let Some(at_us) = dealer.take_due(hand.prompt) {
                break at_us;
            }
            match self.step() {
                Ok(request) => self.ready.extend(request),
                Err(()) => return None,
            }
        };
        let mut context = TokenSeq::default();
        if finished.reason == FinishReason::Completed {
            // The last token of an answer has no KV, but is part of the conversation.
            let answer = before.output.len();
            let said = finished.generated_tokens;
            let said = if said + 1 >= answer { answer } else { said };
            context.extend_from(&before.prompt, before.prompt.len());
            context.extend_from(&before.output, said);
        } else {
            let asked = self.dealt_length(client, hand);
            context.extend_from(&before.prompt, before.prompt.len().saturating_sub(asked));
        }
        let prompts = self.dealers[client as usize].as_ref()?.prompts();
        let send_us = due_us.max(finished.at_us);
        self.follow_ups += 1;
        let name = self.symbols.name(before.session);
        let round = before.round + 1;
        let id = format!("session_{name}_round_{round}_{}", self.follow_ups);
        let request = self.build(Start {
            client,
            serial: serial.checked_add(prompts)?,
            round,
            send_us,
            context,
            window: None,
            think_us: 0,
            session: before.session,
        })?;
        Some(Request {
            id: RequestId::Named(id.into()),
            ..request
        })
    }
}
