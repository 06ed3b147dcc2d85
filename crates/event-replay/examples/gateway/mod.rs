//! A payment gateway for the example: a real service has the client of another system here.

use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    io::{Error, Write},
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Charges each order once, however often it is asked to: the key says which order it is.
#[derive(Debug, Default)]
pub struct Gateway {
    charged: Mutex<BTreeMap<String, u64>>,
    receipts: Mutex<Vec<String>>,
    /// Where it notes what it was asked to charge, so that tests of several processes can look.
    journal: Option<PathBuf>,
}

/// Why an order was not charged.
#[derive(Debug, thiserror::Error)]
pub enum Declined {
    /// The card is no good, and will be no better.
    #[error("the card was refused")]
    CardRefused,
    /// The gateway does not answer now.
    #[error("the gateway does not answer")]
    Unreachable,
    /// It cannot write its journal.
    #[error("the gateway's journal cannot be written")]
    Journal(#[from] Error),
}

impl Declined {
    /// Whether asking again is useless.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::CardRefused)
    }
}

impl Gateway {
    /// A gateway that notes the key of each charge in a file.
    #[allow(dead_code, reason = "tests look")]
    pub fn with_journal(journal: PathBuf) -> Self {
        Self { journal: Some(journal), ..Self::default() }
    }

    /// Charges an amount, once for a key; the id of the payment.
    pub async fn charge(&self, user: &str, cents: u64, key: &str) -> Result<String, Declined> {
        // It is far away.
        tokio::time::sleep(Duration::from_millis(5)).await;
        if let Some(journal) = &self.journal {
            let mut file = OpenOptions::new().create(true).append(true).open(journal)?;
            file.write_all(format!("{key}\n").as_bytes())?;
        }
        match user {
            "user-without-card" => return Err(Declined::CardRefused),
            "user-of-another-bank" => return Err(Declined::Unreachable),
            _ => {}
        }
        self.charged.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned(), cents);
        Ok(format!("payment-of-{key}"))
    }

    /// Sends a receipt.
    pub async fn send_receipt(&self, user: &str, cents: u64) {
        tokio::task::yield_now().await;
        self.receipts.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{user}: {cents}"));
    }

    /// What was charged in all.
    #[allow(dead_code, reason = "tests look")]
    pub fn charged(&self) -> u64 {
        self.charged.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }

    /// The receipts that were sent.
    #[allow(dead_code, reason = "tests look")]
    pub fn receipts(&self) -> Vec<String> {
        self.receipts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
