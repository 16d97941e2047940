// Every function of the library of CUDA kernels (cuda/kernels.h): its name there, and its name here. A new
// kernel adds its line.
#pragma once

// clang-format off
#define GRADCACHE_CUDA_FUNCTIONS(X) \
  X(gradcache_cuda_error, error) \
  X(gradcache_cuda_driver, driver) \
  X(gradcache_cuda_device, device) \
  X(gradcache_dropout, dropout) \
  X(gradcache_norm_forward, normForward) \
  X(gradcache_sandwich_norm_forward, sandwichNormForward) \
  X(gradcache_sandwich_norm_backward, sandwichNormBackward) \
  X(gradcache_norm_backward_scratch, normBackwardScratch) \
  X(gradcache_norm_backward, normBackward) \
  X(gradcache_embedding_forward, embeddingForward) \
  X(gradcache_embedding_backward, embeddingBackward) \
  X(gradcache_add_rows_scratch, addRowsScratch) \
  X(gradcache_add_rows, addRows) \
  X(gradcache_activation_forward, activationForward) \
  X(gradcache_activation_backward_scratch, activationBackwardScratch) \
  X(gradcache_activation_backward, activationBackward) \
  X(gradcache_gate_forward, gateForward) \
  X(gradcache_gate_backward_scratch, gateBackwardScratch) \
  X(gradcache_gate_backward, gateBackward) \
  X(gradcache_heads_forward, headsForward) \
  X(gradcache_heads_backward_scratch, headsBackwardScratch) \
  X(gradcache_heads_backward, headsBackward) \
  X(gradcache_column_sum_scratch, columnSumScratch) \
  X(gradcache_column_sum, columnSum) \
  X(gradcache_pool_forward, poolForward) \
  X(gradcache_pool_backward, poolBackward) \
  X(gradcache_attention_longest, attentionLongest) \
  X(gradcache_attention_forward, attentionForward) \
  X(gradcache_attention_backward, attentionBackward) \
  X(gradcache_softmax_forward, softmaxForward) \
  X(gradcache_softmax_backward, softmaxBackward) \
  X(gradcache_recurrence_forward, recurrenceForward) \
  X(gradcache_recurrence_backward_scratch, recurrenceBackwardScratch) \
  X(gradcache_recurrence_backward, recurrenceBackward) \
  X(gradcache_scores_statistics_scratch, scoresStatisticsScratch) \
  X(gradcache_scores_statistics, scoresStatistics) \
  X(gradcache_scores_probabilities_scratch, scoresProbabilitiesScratch) \
  X(gradcache_scores_probabilities, scoresProbabilities) \
  X(gradcache_scores_sigmoid_scratch, scoresSigmoidScratch) \
  X(gradcache_scores_sigmoid, scoresSigmoid) \
  X(gradcache_nested_takes, nestedTakes) \
  X(gradcache_nested_reference, nestedReference) \
  X(gradcache_nested_statistics_scratch, nestedStatisticsScratch) \
  X(gradcache_nested_statistics, nestedStatistics) \
  X(gradcache_nested_tiles_scratch, nestedTilesScratch) \
  X(gradcache_nested_tiles, nestedTiles) \
  X(gradcache_scores_operand, scoresOperand) \
  X(gradcache_unit_gradient, unitGradient)
// clang-format on
