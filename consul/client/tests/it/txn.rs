//! Transactions.

use consul_client::{
    CheckStatus, Error, HealthCheck, MAX_TXN_OPS, Node, Put, Read, Service, SessionRequest, TxnOp, txn::CatalogVerb,
};

use crate::consul::shared;

#[tokio::test]
async fn all_keys_of_a_transaction_get_one_index() {
    let client = shared().await;
    let ops = [TxnOp::set("t1/a", "1"), TxnOp::cas("t1/b", "2", 0), TxnOp::GetTree { prefix: "t1/".to_owned() }];
    let results = client.txn(&ops).await.unwrap();
    assert_eq!(results.pairs.len(), 4);
    assert!(results.pairs.iter().all(|pair| pair.modify_index == results.pairs[0].modify_index));
    assert_eq!(&results.pairs[3].value[..], b"2");
    assert_eq!(client.txn(&[]).await.unwrap(), consul_client::TxnResults::default());
}

#[tokio::test]
async fn a_refused_transaction_names_its_operations_and_applies_nothing() {
    let client = shared().await;
    client.kv_put("t2/a", "1", &Put::default()).await.unwrap();
    let ops = [
        TxnOp::set("t2/new", "1"),
        TxnOp::cas("t2/a", "2", 1),
        TxnOp::CheckIndex { key: "t2/missing".to_owned(), index: 4 },
    ];
    let Err(Error::TxnRefused { errors }) = client.txn(&ops).await else { panic!("not refused") };
    assert_eq!(errors.iter().map(|error| error.op_index).collect::<Vec<_>>(), [1, 2]);
    assert!(client.kv_get("t2/new", &Read::default()).await.unwrap().value.is_none());
}

#[tokio::test]
async fn sixty_four_operations_fit_and_a_body_over_half_a_mebibyte_does_not() {
    let client = shared().await;
    let ops: Vec<_> = (0..MAX_TXN_OPS).map(|n| TxnOp::set(format!("t3/{n}"), "x")).collect();
    assert_eq!(client.txn(&ops).await.unwrap().pairs.len(), MAX_TXN_OPS);
    let refused = client.txn(&[TxnOp::set("t3/big", vec![1; 400_000])]).await.unwrap_err();
    assert!(matches!(refused, Error::TooLarge { .. }), "{refused}");
}

#[tokio::test]
async fn every_condition_holds_or_refuses() {
    let client = shared().await;
    let session = client.session_create(&SessionRequest::default()).await.unwrap();
    let (key, missing) = ("t4/lock".to_owned(), "t4/missing".to_owned());
    let lock = TxnOp::Lock { key: key.clone(), value: "me".into(), session: session.clone() };
    let index = client.txn(&[lock]).await.unwrap().index_of(&key).unwrap();
    let holds = [
        TxnOp::CheckSession { key: key.clone(), session: session.clone() },
        TxnOp::CheckIndex { key: key.clone(), index },
        TxnOp::CheckNotExists { key: missing.clone() },
        TxnOp::Get { key: key.clone() },
        TxnOp::Delete { key: missing.clone() },
        TxnOp::DeleteCas { key: missing.clone(), index: 7 },
        TxnOp::DeleteTree { prefix: missing.clone() },
    ];
    let pairs = client.txn(&holds).await.unwrap().pairs;
    // Both checks and the read give the key back; only the read with its value.
    let seen: Vec<_> = pairs.iter().map(|pair| (pair.session.as_deref(), &pair.value[..])).collect();
    let holder = Some(session.as_str());
    assert_eq!(seen, [(holder, &b""[..]), (holder, b""), (holder, b"me")]);
    let other = client.session_create(&SessionRequest::default()).await.unwrap();
    let refuses = [
        TxnOp::CheckSession { key: key.clone(), session: other.clone() },
        TxnOp::CheckIndex { key: key.clone(), index: index + 1 },
        TxnOp::CheckNotExists { key: key.clone() },
        TxnOp::Get { key: missing },
        TxnOp::DeleteCas { key: key.clone(), index: 1 },
        TxnOp::Lock { key: key.clone(), value: "it".into(), session: other },
    ];
    for op in refuses {
        let outcome = client.txn(std::slice::from_ref(&op)).await;
        assert!(matches!(outcome, Err(Error::TxnRefused { .. })), "{op:?}: {outcome:?}");
    }
    let unlock = TxnOp::Unlock { key: key.clone(), value: "free".into(), session };
    client.txn(&[unlock]).await.unwrap();
    assert!(client.kv_get(&key, &Read::default()).await.unwrap().value.unwrap().session.is_none());
}

#[tokio::test]
async fn a_node_its_service_and_its_check_can_be_written_with_keys() {
    let client = shared().await;
    let node = Node { node: "t5".to_owned(), address: "10.0.0.5".to_owned(), ..Node::default() };
    let service = Service { id: "t5-1".to_owned(), service: "t5".to_owned(), port: 80, ..Service::default() };
    let check = HealthCheck {
        node: "t5".to_owned(),
        check_id: "t5-up".to_owned(),
        name: "up".to_owned(),
        status: CheckStatus::Passing,
        service_id: "t5-1".to_owned(),
        ..HealthCheck::default()
    };
    let set = CatalogVerb::Set;
    let ops = [
        TxnOp::set("t5/inst", "1"),
        TxnOp::Node { verb: set, node: node.clone() },
        TxnOp::Service { verb: set, node: "t5".to_owned(), service: service.clone() },
        TxnOp::Check { verb: set, check: check.clone() },
    ];
    let results = client.txn(&ops).await.unwrap();
    let index = results.pairs[0].modify_index;
    assert_eq!((results.nodes[0].modify_index, results.services[0].modify_index), (index, index));
    assert_eq!(results.checks[0].modify_index, index);
    let health = client.health_service("t5", &Read { passing: true, ..Read::default() }).await.unwrap().value;
    assert_eq!((health.len(), health[0].node.address.as_str()), (1, "10.0.0.5"));
    let stale = Service { modify_index: 1, ..service.clone() };
    let refused = client.txn(&[TxnOp::Service { verb: CatalogVerb::Cas, node: "t5".to_owned(), service: stale }]).await;
    assert!(matches!(refused, Err(Error::TxnRefused { .. })), "{refused:?}");
    let delete = CatalogVerb::Delete;
    let ops = [
        TxnOp::Check { verb: delete, check },
        TxnOp::Service { verb: delete, node: "t5".to_owned(), service },
        TxnOp::Node { verb: delete, node },
    ];
    client.txn(&ops).await.unwrap();
    assert!(client.catalog_node("t5", &Read::default()).await.unwrap().value.is_none());
}
